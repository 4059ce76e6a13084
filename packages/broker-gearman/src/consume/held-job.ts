import type { Delivery, Headers } from '@zyqueue/core/broker'
import type { LostDeliveryNote } from './lost-deliveries.ts'
import type { WorkerConnection } from './worker-connection.ts'
import type { Assignment } from '../connection/protocol.ts'
import { isOurs, type ReceivedJob, type StoredJob } from '../message.ts'

/** A job that the server has assigned to one of this consumer's connections. */
export class HeldJob implements Delivery {
  readonly id: string
  readonly queue: string
  readonly body: Uint8Array
  readonly headers: Headers
  readonly priority: number
  readonly deliveryCount: number
  /** Whether its submitter waits for its end. Of a foreign job this is asked when it has come. */
  foreground: boolean
  readonly #link: WorkerConnection
  readonly #assignment: Assignment
  readonly #dueMs: number | undefined
  readonly #charges: readonly string[]

  constructor(
    link: WorkerConnection,
    queue: string,
    assignment: Assignment,
    job: ReceivedJob,
    charges: readonly LostDeliveryNote[],
  ) {
    const { charges: counted = [] } = job
    const fresh = charges.filter(({ key }) => !counted.includes(key))
    this.id = job.id
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

  get link(): WorkerConnection {
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

  /** Whether another program has submitted it, and perhaps waits for its end. */
  get isForeign(): boolean {
    return !isOurs(this.unique)
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

function headersOver(headers: Headers, charges: readonly LostDeliveryNote[]): Headers {
  const merged: Record<string, string> = Object.assign(Object.create(null), headers)
  for (const charge of charges) for (const [name, value] of Object.entries(charge.headers ?? {})) merged[name] = value
  return merged
}
