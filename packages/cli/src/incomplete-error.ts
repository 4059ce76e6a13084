import { EXIT } from './exit-codes.ts'

/** A stream of jobs was broken off by what came in, or by a signal: those before are stored, and no others. */
export class IncompleteError extends Error {
  override readonly name = 'IncompleteError'
  readonly code = 'ZYQ_SUBMIT_PARTIAL'
  readonly stored: number
  readonly remedy: string
  readonly exitCode: number

  constructor(
    message: string,
    options: { readonly stored: number; readonly remedy: string; readonly exitCode?: number; readonly cause?: unknown },
  ) {
    super(message, { cause: options.cause })
    this.stored = options.stored
    this.remedy = options.remedy
    this.exitCode = options.exitCode ?? EXIT.failed
  }
}
