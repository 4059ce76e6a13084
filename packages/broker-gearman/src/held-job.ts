import type { Delivery, Headers } from '@zyqueue/core/broker'
import type { StoredCharge } from './charges.ts'
import type { Link } from './link.ts'
import type { Assignment } from './protocol.ts'
import type { ReceivedJob, StoredJob } from './workload.ts'

/** A job that the server has assigned to one of this consumer's connections. */
export class HeldJob implements Delivery {
  readonly id: string
  readonly queue: string
  readonly body: Uint8Array
  readonly headers: Headers
  readonly priority: number
  readonly deliveryCount: number
  /** Whether its submitter waits for its end. */
  readonly foreground: boolean
  readonly #link: Link
  readonly #assignment: Assignment
  readonly #dueMs: number | undefined
  readonly #charges: readonly string[]

  constructor(link: Link, queue: string, assignment: Assignment, job: ReceivedJob, charges: readonly StoredCharge[]) {
    const { charges: counted = [] } = job
    const fresh = charges.filter(({ key }) => !counted.includes(key))
    // Many programs submit without a unique.
    this.id = job.id === '' ? assignment.handle : job.id
    this.queue = queue
    this.body = job.body
    this.headers = fresh.length === 0 ? job.headers : headersOver(job.headers, fresh)
    this.priority = job.priority
    this.deliveryCount = job.deliveryCount + fresh.length
    this.#charges = fresh.length === 0 ? counted : [...counted, ...fresh.map(({ key }) => key)]
    this.foreground = job.isCall
    this.#link = link
    this.#assignment = assignment
    this.#dueMs = job.dueMs
  }

  get link(): Link {
    return this.#link
  }

  get handle(): string {
    return this.#assignment.handle
  }

  get functionName(): string {
    return this.#assignment.functionName
  }

  get unique(): string {
    return this.#assignment.unique
  }

  /** Whether a program that is not ours may have submitted it, and may wait for it. */
  get isPlain(): boolean {
    return this.body === this.#assignment.workload
  }

  /** When it is due, where it was delayed. */
  get dueMs(): number | undefined {
    return this.#dueMs
  }

  /** What is to be stored of it elsewhere. */
  stored(changes: Partial<StoredJob>): StoredJob {
    const { id, body, headers, priority, deliveryCount } = this
    return { id, body, headers, priority, deliveryCount, charges: this.#charges, ...changes }
  }
}

function headersOver(headers: Headers, charges: readonly StoredCharge[]): Headers {
  const merged: Record<string, string> = Object.assign(Object.create(null), headers)
  for (const charge of charges) for (const [name, value] of Object.entries(charge.headers ?? {})) merged[name] = value
  return merged
}
