import { BrokerError, messageOf } from '../errors.ts'
import type { JobHandle } from './job-handles.ts'

/** One job of a list or stream that was not stored, or whose outcome is unknown. */
export interface FailedSubmission {
  /** Its index in the list or stream. */
  readonly index: number
  readonly error: unknown
}

/** Some jobs of a list or stream were stored and some were not (`ZYQ_SUBMIT_PARTIAL`). The cause is the first failure. */
export class SubmitError extends BrokerError {
  override readonly name: string = 'SubmitError'
  readonly stored: Iterable<JobHandle> & { readonly length: number }
  /** Not stored. The caller may submit them again. */
  readonly refused: readonly FailedSubmission[]
  /** Possibly stored: the connection was lost before the broker answered. */
  readonly unknown: readonly FailedSubmission[]

  constructor(
    stored: Iterable<JobHandle> & { readonly length: number },
    refused: readonly FailedSubmission[],
    unknown: readonly FailedSubmission[],
    cause: unknown,
  ) {
    const counts = `${stored.length} stored, ${refused.length} refused, ${unknown.length} unknown`
    super('ZYQ_SUBMIT_PARTIAL', `Not every job was stored: ${counts}. First failure: ${messageOf(cause)}`, { cause })
    this.stored = stored
    this.refused = refused
    this.unknown = unknown
  }

  static override [Symbol.hasInstance](value: unknown): boolean {
    return value instanceof BrokerError && value.code === 'ZYQ_SUBMIT_PARTIAL'
  }
}
