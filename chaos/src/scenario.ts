import { fork, type ChildProcess } from 'node:child_process'
import { once } from 'node:events'
import { readFileSync } from 'node:fs'
import { basename } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { fileURLToPath } from 'node:url'
import { now, readRecords, recordTo, seededRandom, waitFor, type ChaosRecord } from '@zyqueue/broker-test-kit'
import { openBroker, type OpenBroker } from '@zyqueue/core'
import type { Target } from './target.ts'
import { BROKER, FOLDER, TASK } from './load.ts'

/** The lease of the workers, in ms. */
export const LEASE_MS = 4_000
const WORKERS = 2
const START_TIMEOUT_MS = 240_000
const END_TIMEOUT_MS = 60_000

/** The processes of one run, with methods to start, stop and kill them. */
export class Scenario implements AsyncDisposable {
  readonly target: Target
  readonly folder: string
  /** The name of the task and of its queue. */
  readonly task: string
  /** The duration of the fault, in ms. */
  readonly ms: number
  readonly random: () => number
  readonly record: (record: ChaosRecord) => void
  readonly #environment: NodeJS.ProcessEnv
  readonly #started = new Set<ChildProcess>()
  readonly #supervisors: ChildProcess[] = []
  readonly #producers: ChildProcess[] = []
  #broker: Promise<OpenBroker> | undefined
  /** When the data of the broker was deleted, on the clock of `now()`. */
  wipedAt = 0
  /** The last output of the processes, for the report of a failed run. */
  output = ''

  constructor(options: {
    readonly target: Target
    readonly broker: string
    readonly folder: string
    readonly seed: number
    readonly ms: number
    readonly environment: NodeJS.ProcessEnv
  }) {
    this.target = options.target
    this.folder = options.folder
    this.task = `chaos-${basename(options.folder)}`
    this.ms = options.ms
    this.random = seededRandom(options.seed)
    this.record = recordTo(options.folder)
    this.#environment = {
      ...process.env,
      [FOLDER]: options.folder,
      [BROKER]: options.broker,
      [TASK]: this.task,
      ZYQUEUE_SERVER: fileURLToPath(new URL('./recorded-broker.js', import.meta.url)),
      ZYQUEUE_CONNECTION: options.target.connection,
      ...options.environment,
    }
  }

  /** Starts a program of this folder. */
  start(program: string, ...args: readonly (string | number)[]): ChildProcess {
    const path = fileURLToPath(new URL(`./${program}.js`, import.meta.url))
    const child = fork(path, args.map(String), { env: this.#environment, stdio: ['ignore', 'pipe', 'pipe', 'ipc'] })
    for (const stream of [child.stdout, child.stderr]) {
      stream?.on('data', (chunk: Buffer) => (this.output = (this.output + chunk.toString()).slice(-3_000)))
    }
    child.disconnect()
    this.#started.add(child)
    return child
  }

  /** Starts a producer of `count` jobs, one each `everyMs` on average. The names of its jobs start with `name`. */
  produce(name: string, count: number, everyMs: number, seed = Math.floor(this.random() * 1e9)): ChildProcess {
    const producer = this.start('produce', seed, name, count, everyMs)
    this.#producers.push(producer)
    return producer
  }

  /** Waits at most `mostMs` for the end of all producers. Resolves to whether they have ended. */
  async producersEnd(mostMs: number): Promise<boolean> {
    const ends = this.#producers.filter(isAlive).map((producer) => once(producer, 'exit'))
    await Promise.race([Promise.all(ends), sleep(mostMs, undefined, { ref: false })])
    return !this.#producers.some(isAlive)
  }

  /** Starts a supervisor and waits until its workers take jobs. `worker` and `workers` then refer to this supervisor. */
  async supervise(): Promise<void> {
    const supervisor = this.start('supervise', LEASE_MS, WORKERS)
    this.#supervisors.push(supervisor)
    let log = ''
    supervisor.stderr?.on('data', (chunk: Buffer) => (log += chunk.toString()))
    await waitFor('workers that take jobs', () => log.includes('workers are taking jobs'), START_TIMEOUT_MS)
  }

  /** The latest supervisor. */
  get supervisor(): ChildProcess {
    const supervisor = this.#supervisors.at(-1)
    if (supervisor === undefined) throw new Error('No supervisor was started: call supervise() first.')
    return supervisor
  }

  /** Kills the supervisor and resolves when it has ended. */
  async killSupervisor(): Promise<void> {
    const { supervisor } = this
    const ended = once(supervisor, 'exit')
    supervisor.kill('SIGKILL')
    await ended
  }

  /** The worker processes of the supervisor (proc_pid_children(5)). */
  workers(supervisor: ChildProcess = this.supervisor): readonly number[] {
    const pid = supervisor.pid ?? 0
    try {
      return readFileSync(`/proc/${pid}/task/${pid}/children`, 'utf8').split(' ').map(Number).filter(Boolean)
    } catch {
      return []
    }
  }

  /** A random worker process. Waits until there is one. */
  async worker(): Promise<number> {
    return waitFor(
      'a worker process',
      () => {
        const workers = this.workers()
        return workers[Math.floor(this.random() * workers.length)]
      },
      START_TIMEOUT_MS,
    )
  }

  kill(pid: number): void {
    this.record({ type: 'killed', pid, at: now() })
    signal(pid, 'SIGKILL')
  }

  /** Waits for about this share of the fault's duration. */
  async wait(share: number): Promise<void> {
    await sleep(this.ms * share * (0.5 + this.random()))
  }

  records(): readonly ChaosRecord[] {
    return readRecords(this.folder)
  }

  /** The jobs that were submitted before the broker was wiped. */
  submittedBeforeWipe(records: readonly ChaosRecord[]): ReadonlySet<string> {
    return new Set(
      records.flatMap((record) => (record.type === 'submitted' && record.at < this.wipedAt ? [record.job] : [])),
    )
  }

  /** A connection for the checks, without the proxy. */
  async broker(): Promise<OpenBroker> {
    this.#broker ??= openBroker({ connection: this.target.direct })
    return this.#broker
  }

  /** Drains the running supervisors. Resolves to whether all of them exited with code 0. */
  async end(): Promise<boolean> {
    const living = this.#supervisors.filter(isAlive)
    await Promise.all(
      living.map(async (supervisor) => {
        const ended = once(supervisor, 'exit')
        supervisor.kill('SIGTERM')
        const late = setTimeout(() => supervisor.kill('SIGKILL'), END_TIMEOUT_MS)
        await ended
        clearTimeout(late)
      }),
    )
    return living.length > 0 && living.every(({ exitCode }) => exitCode === 0)
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await (await this.#broker?.catch(() => undefined))?.close()
    const workers = this.#supervisors.flatMap((supervisor) => this.workers(supervisor))
    for (const child of this.#started) if (isAlive(child)) child.kill('SIGKILL')
    for (const pid of workers) signal(pid, 'SIGKILL')
  }
}

/** Sends a signal to a process that may be gone. */
export function signal(pid: number, name: NodeJS.Signals): void {
  try {
    process.kill(pid, name)
  } catch {
    // It has ended already.
  }
}

function isAlive(child: ChildProcess): boolean {
  return child.exitCode === null && child.signalCode === null
}
