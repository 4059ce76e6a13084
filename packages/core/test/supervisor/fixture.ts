import { existsSync, mkdirSync, readdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import {
  createLogger,
  openBroker,
  producers,
  remoteTask,
  setResolution,
  type OpenBroker,
  type SubmitOptions,
  type ZyQueueError,
} from '@zyqueue/core'
import type { DeadLetter, QueueStats } from '@zyqueue/core/broker'
import {
  createSupervisor,
  type Supervisor,
  type SupervisorOptions,
  type SupervisorResult,
} from '@zyqueue/core/supervisor'
import { onTestFinished, vi } from 'vitest'
import { makeProject, until, type Project } from './project.ts'

/**
 * The beginning of the task files. `note` appends a line to a file of the process, without the broker, so that every run of
 * every job is counted, whichever process is killed.
 */
const PRELUDE = `import { appendFileSync, existsSync, openSync, writeSync } from 'node:fs'
import { setTimeout as sleep } from 'node:timers/promises'
import { queueJob } from '@zyqueue/core'
const at = (name) => new URL(name, import.meta.url).pathname
const notes = openSync(at('notes/' + process.pid), 'a')
const note = (text) => writeSync(notes, text + '\\n')
const ran = (job) => note(job.data + ' ' + job.deliveryCount)
const spin = (ms) => { for (const end = performance.now() + ms; performance.now() < end;); }
const exists = (name) => existsSync(at(name))
const untilExists = async (name) => { while (!exists(name)) await sleep(10) }
`

/** One run of a job, as its handler noted it. */
export interface Run {
  readonly pid: number
  readonly job: string
  readonly deliveryCount: number
}

export interface LogLine {
  readonly level: string
  readonly msg: string
  readonly pid?: number
  readonly [field: string]: unknown
}

export interface Supervised {
  readonly supervisor: Supervisor
  readonly ended: Promise<SupervisorResult>
  readonly log: LogLine[]
}

/** A project with one task file and its own queue file. */
export class SupervisorFixture {
  readonly project: Project
  readonly connection: string
  /** Where supervisors and their processes keep temporary files. */
  readonly temporary: string
  #broker: Promise<OpenBroker> | undefined

  static async create(tasks: string, options: { readonly prelude?: boolean } = {}): Promise<SupervisorFixture> {
    const project = await makeProject({ 'tasks.mjs': options.prelude === false ? tasks : PRELUDE + tasks })
    return new SupervisorFixture(project)
  }

  private constructor(project: Project) {
    this.project = project
    // Brokers must not be searched from the test runner's folder.
    setResolution({ resolveFrom: [project.dir], baseDir: project.dir })
    this.connection = `sqlite:${project.path('queue.db')}`
    this.temporary = project.path('temporary')
    mkdirSync(project.path('notes'))
    mkdirSync(this.temporary)
    onTestFinished(async () => {
      await (await this.#broker)?.close()
      await producers.close()
    })
  }

  /** Submits one job for each item of `data`. */
  async submit(task: string, data: readonly unknown[], options: SubmitOptions = {}): Promise<void> {
    await remoteTask(task, { connection: this.connection }).submitMany(data, options)
  }

  /** Starts a supervisor in this process. It is stopped after the test. */
  supervise(options: Partial<SupervisorOptions> = {}): Supervised {
    const log: LogLine[] = []
    vi.stubEnv('TMPDIR', this.temporary)
    const supervisor = createSupervisor({
      taskFile: this.project.path('tasks.mjs'),
      connection: this.connection,
      maxWorkers: 2,
      // So long that no lease runs out during a test.
      leaseMs: 600_000,
      workerLog: { level: 'silent' },
      logger: createLogger({
        level: 'debug',
        format: 'json',
        destination: { write: (line) => log.push(JSON.parse(line)) },
      }),
      ...options,
    })
    const ended = supervisor.run()
    onTestFinished(async () => {
      supervisor.stop()
      await ended
      vi.unstubAllEnvs()
    })
    return { supervisor, ended, log }
  }

  /** Runs a supervisor until there is nothing left to do. */
  async burst(options: Partial<SupervisorOptions> = {}): Promise<Supervised & { readonly result: SupervisorResult }> {
    const supervised = this.supervise({ burst: true, ...options })
    return { ...supervised, result: await supervised.ended }
  }

  /** All written lines, by process. */
  notes(): { readonly pid: number; readonly line: string }[] {
    return readdirSync(this.project.path('notes')).flatMap((name) =>
      readFileSync(this.project.path(join('notes', name)), 'utf8')
        .split('\n')
        .slice(0, -1)
        .map((line) => ({ pid: Number(name), line })),
    )
  }

  lines(): string[] {
    return this.notes().map(({ line }) => line)
  }

  runs(): Run[] {
    return this.notes().map(({ pid, line }) => {
      const [job = '', deliveryCount] = line.split(' ')
      return { pid, job, deliveryCount: Number(deliveryCount) }
    })
  }

  /** The worker processes that have loaded the task file. */
  pids(): number[] {
    return readdirSync(this.project.path('notes')).map(Number)
  }

  async broker(): Promise<OpenBroker> {
    this.#broker ??= openBroker({ connection: this.connection })
    return this.#broker
  }

  async queue(name: string): Promise<QueueStats | undefined> {
    const { admin } = await this.broker()
    return (await admin.queues()).find((queue) => queue.name === name)
  }

  async dead(queue: string): Promise<readonly DeadLetter[]> {
    const { admin } = await this.broker()
    return admin.deadLetters.list(queue, { limit: 1000 })
  }

  /** Waits until this many lines are written. */
  async untilNoted(count: number): Promise<void> {
    await until(`${count} notes`, () => this.notes().length >= count || undefined)
  }

  /** The processes and temporary files that a supervisor left behind. */
  leftovers(): string[] {
    return [
      ...this.pids()
        .filter((pid) => existsSync(`/proc/${pid}`))
        .map((pid) => `process ${pid} ${stateOf(pid)}`),
      ...readdirSync(this.temporary).filter((name) => name.startsWith('zyqueue')),
    ]
  }
}

export function lineOf(log: readonly LogLine[], words: string): LogLine | undefined {
  return log.find(({ msg }) => msg.includes(words))
}

/** Waits until a line with these words was logged. */
export async function untilLogged(log: readonly LogLine[], words: string, times = 1): Promise<void> {
  await until(`the log of ${words}`, () => log.filter(({ msg }) => msg.includes(words)).length >= times || undefined)
}

/** `R`, `S`, `T` (stopped), `Z` (a zombie), … of a process (man 5 proc); undefined if there is none. */
export function stateOf(pid: number): string | undefined {
  try {
    return /\) (\S)/.exec(readFileSync(`/proc/${pid}/stat`, 'utf8'))?.[1]
  } catch {
    return undefined
  }
}

/** True if a process runs. A zombie does not. */
export function isAlive(pid: number): boolean {
  const state = stateOf(pid)
  return state !== undefined && state !== 'Z' && state !== 'X'
}

/** The code and message of a failed supervisor's error. */
export function failure({ reason, error }: SupervisorResult): { reason: string; code?: string; message?: string } {
  const told: ZyQueueError | undefined = error
  return told === undefined ? { reason } : { reason, code: told.code, message: told.message }
}

export function numbers(count: number): number[] {
  return Array.from({ length: count }, (_, index) => index)
}

/** The runs of each job. */
export function byJob(runs: readonly Run[]): Map<string, Run[]> {
  const jobs = new Map<string, Run[]>()
  for (const run of runs) jobs.set(run.job, [...(jobs.get(run.job) ?? []), run])
  return jobs
}
