import { EXIT } from './exit-codes.ts'

/** Invalid input or a signal ended a stream of jobs. The jobs before it are stored, and no others. */
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
