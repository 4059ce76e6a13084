import { setTimeout as sleep } from 'node:timers/promises'
import type { Argv } from 'yargs'
import { ConfigError, ERROR_CODES, ZyQueueError } from '@zyqueue/core'
import type { Broker, Finding, QueueStats } from '@zyqueue/core/broker'
import { describeChoice, describeBroker, withBroker } from '../broker.ts'
import { EXIT, exitCodeOf, type ExitCode } from '../exit-codes.ts'
import type { GlobalArgs } from '../options.ts'
import { plural, print } from '../output.ts'
import { redactText } from '../redact.ts'

/** How long to watch a queue that has waiting jobs and no running one. */
const WATCH_MS = 2_000

interface Step {
  readonly step: 'node' | 'discovery' | 'connection' | 'version' | 'queues' | 'settings'
  readonly status: 'ok' | 'note' | 'warning' | 'failed'
  readonly detail: string
  readonly remedy?: string | undefined
}

/** `--json`: `{ ok, steps: [{ step, status, detail, remedy }] }`; status is ok, note, warning or failed. */
export function doctorCommand(cli: Argv<GlobalArgs>): Argv<GlobalArgs> {
  return cli.command(
    'doctor',
    'Check the installation, connection and settings of a broker',
    (command) =>
      command
        .example('$0 doctor', 'The embedded broker')
        .example('$0 doctor -C redis://localhost:6379', 'A Redis server'),
    async (args) => {
      const { steps, exitCode } = await examine(args)
      print(args.json, { ok: exitCode === EXIT.ok, steps }, () => steps.map(draw).join('\n'))
      process.exitCode = exitCode
    },
  )
}

interface Diagnosis {
  readonly steps: readonly Step[]
  readonly exitCode: ExitCode
}

async function examine(args: GlobalArgs): Promise<Diagnosis> {
  const steps: Step[] = [nodeStep()]
  const where = describeChoice(args)
  // The current step: an error belongs to it.
  let step: Step['step'] = 'discovery'
  const passed = (detail: string, next: Step['step']): void => {
    steps.push({ step, status: 'ok', detail })
    step = next
  }
  try {
    await withBroker(args, async (broker) => {
      passed(`${where}: broker "${broker.name}"`, 'connection')
      passed(`connected to ${describeBroker(broker)}`, 'version')
      passed(`${broker.name} ${await broker.admin.version()}`, 'queues')
      const queues = await broker.admin.queues()
      const untaken = await findUntaken(broker, queues)
      passed(`${plural(queues.length, 'queue')} can be read`, 'settings')
      steps.push(...untaken)
      steps.push(...settings(await broker.admin.check()))
    })
  } catch (error) {
    if (step === 'discovery' && !(error instanceof ConfigError))
      passed(`${where}: the broker is installed`, 'connection')
    steps.push(failure(error, step))
    return { steps, exitCode: exitCodeOf(error) }
  }
  return { steps, exitCode: steps.some(({ status }) => status === 'failed') ? EXIT.failed : EXIT.ok }
}

function nodeStep(): Step {
  const [major = 0, minor = 0] = process.versions.node.split('.').map(Number)
  const detail = `Node ${process.versions.node}`
  if (major > 20 || (major === 20 && minor >= 19)) return { step: 'node', status: 'ok', detail }
  return { step: 'node', status: 'failed', detail, remedy: 'Use Node 20.19 or newer.' }
}

function failure(error: unknown, step: Step['step']): Step {
  if (!(error instanceof ZyQueueError)) return { step, status: 'failed', detail: redactText(String(error)) }
  const detail = `${redactText(error.message)} (${error.code})`
  return { step, status: 'failed', detail, remedy: ERROR_CODES[error.code].remedy }
}

/** The queues whose jobs perhaps no worker takes: no worker serves them, or the consumers of their workers fail. */
async function findUntaken({ admin }: Pick<Broker, 'admin'>, queues: readonly QueueStats[]): Promise<readonly Step[]> {
  const suspects = queues.filter(isUntaken)
  if (suspects.length === 0) return []
  await sleep(WATCH_MS)
  const later = await admin.queues(suspects.map(({ name }) => name))
  return suspects.flatMap(({ name, ready = 0 }) => {
    const now = later.find((queue) => queue.name === name)
    if (now?.ready === undefined || now.ready < ready || !isUntaken(now)) return []
    return {
      step: 'queues',
      status: 'warning',
      detail: `${plural(now.ready, 'job')} in ${name} waiting and none running, as ${WATCH_MS / 1000} s before: perhaps no worker takes them`,
      remedy: 'Start a worker for this queue. If one is running, search its log for "receiving failed".',
    }
  })
}

function isUntaken({ ready = 0, active }: QueueStats): boolean {
  return ready > 0 && active === 0
}

function settings(findings: readonly Finding[]): readonly Step[] {
  if (findings.length === 0) return [{ step: 'settings', status: 'ok', detail: 'no remarks' }]
  return findings.map(({ level, message, remedy }) => ({
    step: 'settings',
    status: level === 'problem' ? 'failed' : level,
    detail: message,
    remedy,
  }))
}

function draw({ step, status, detail, remedy }: Step): string {
  const line = `${status.padEnd(7)} ${step.padEnd(10)} ${detail}`
  return remedy === undefined ? line : `${line}\n${' '.repeat(19)}${remedy}`
}
