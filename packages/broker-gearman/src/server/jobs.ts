/** The functions and jobs of a job server: which jobs wait, which worker runs each, and which clients wait for its end. */
import type { Peer } from './peer.ts'

/** High, normal, low. Jobs of a higher level run first. */
export type WaitingLevel = 0 | 1 | 2

export interface Job {
  readonly handle: string
  readonly unique: string
  readonly workload: Buffer
  readonly level: WaitingLevel
  readonly background: boolean
  readonly of: JobFunction
  /** The clients that wait for its end. */
  readonly awaitedBy: Set<Peer>
  worker: Peer | undefined
  progress: readonly [done: string, of: string]
}

/** A function with its waiting jobs: one map for each level, by handle, the oldest job first. */
export class JobFunction {
  readonly name: string
  readonly waiting: readonly Map<string, Job>[] = [new Map(), new Map(), new Map()]
  readonly workers = new Set<Peer>()
  running = 0
  /** How many jobs may wait; 0 means no limit. */
  limit = 0

  constructor(name: string) {
    this.name = name
  }

  get waitingCount(): number {
    return this.waiting.reduce((sum, jobs) => sum + jobs.size, 0)
  }

  next(): Job | undefined {
    for (const jobs of this.waiting) for (const job of jobs.values()) return job
    return undefined
  }
}

const NOTHING = Buffer.alloc(0)

export class JobTable {
  readonly functions = new Map<string, JobFunction>()
  readonly byHandle = new Map<string, Job>()
  readonly #byUnique = new Map<string, Job>()
  #handles = 0

  functionNamed(name: string): JobFunction {
    let found = this.functions.get(name)
    if (found === undefined) this.functions.set(name, (found = new JobFunction(name)))
    return found
  }

  /** Adds a job, or finds the job of the same function and unique. `undefined` if the function is full. */
  submit(name: string, fields: Pick<Job, 'unique' | 'workload' | 'level' | 'background'>): Job | undefined {
    const of = this.functionNamed(name)
    const known = fields.unique === '' ? undefined : this.#byUnique.get(keyOf(of, fields))
    if (known !== undefined) return known
    if (of.limit > 0 && of.waitingCount >= of.limit) return undefined
    const handle = `H:zyqueue:${++this.#handles}`
    const job: Job = { ...fields, of, handle, awaitedBy: new Set(), worker: undefined, progress: ['0', '0'] }
    this.byHandle.set(handle, job)
    if (job.unique !== '') this.#byUnique.set(keyOf(of, job), job)
    this.#enqueue(job)
    return job
  }

  /** The job of this unique, in any function. */
  findByUnique(unique: string): Job | undefined {
    for (const of of this.functions.values()) {
      const job = this.#byUnique.get(keyOf(of, { unique, workload: NOTHING }))
      if (job !== undefined) return job
    }
    return undefined
  }

  assign(job: Job, worker: Peer): void {
    job.of.waiting[job.level]?.delete(job.handle)
    job.of.running++
    job.worker = worker
    worker.held.add(job)
  }

  /** The job of a lost worker waits again, unless it is a foreground job without a client. */
  requeue(job: Job): void {
    this.#unassign(job)
    if (job.background || job.awaitedBy.size > 0) this.#enqueue(job)
    else this.#delete(job)
  }

  /** Ends a waiting or running job. */
  end(job: Job): void {
    if (job.worker !== undefined) this.#unassign(job)
    job.of.waiting[job.level]?.delete(job.handle)
    this.#delete(job)
  }

  #enqueue(job: Job): void {
    job.of.waiting[job.level]?.set(job.handle, job)
    for (const worker of job.of.workers) worker.wake()
  }

  #unassign(job: Job): void {
    job.worker?.held.delete(job)
    job.worker = undefined
    job.of.running--
  }

  #delete(job: Job): void {
    this.byHandle.delete(job.handle)
    const key = keyOf(job.of, job)
    if (this.#byUnique.get(key) === job) this.#byUnique.delete(key)
    for (const client of job.awaitedBy) client.awaits.delete(job)
  }
}

/** As in gearmand, the unique `-` means that the payload is the unique. */
function keyOf(of: JobFunction, { unique, workload }: Pick<Job, 'unique' | 'workload'>): string {
  return unique === '-' ? `${of.name}\0\0${workload.toString('latin1')}` : `${of.name}\0${unique}`
}
