import { ERROR_CODES, ZyQueueError } from '@zyqueue/core'
import { UsageError } from './usage-error.ts'
import { EXIT, exitCodeOf } from './exit-codes.ts'
import { IncompleteError } from './incomplete-error.ts'
import { redactText } from './redact.ts'

/**
 * Prints an error and its remedy to standard error; with `--json` as one line `{"error":{code,message,remedy}}`.
 * Returns the exit code.
 */
export function report(error: unknown, json: boolean): number {
  const document = describe(error)
  if (json) {
    process.stderr.write(`${JSON.stringify({ error: document })}\n`)
  } else {
    const { code, message, remedy } = document
    // The lines after the first show the source code that the message is about.
    const [summary, ...below] = message.split('\n')
    const label = error instanceof ZyQueueError ? ` (${code})` : ''
    const parts = [[`zyqueue: ${summary}${label}`, ...below].join('\n'), stackOfCause(error), remedy]
    process.stderr.write(`${parts.filter((part) => part !== undefined).join('\n\n')}\n`)
  }
  if (error instanceof IncompleteError) return error.exitCode
  return error instanceof UsageError ? EXIT.usage : exitCodeOf(error)
}

interface ErrorDocument {
  readonly code: string
  readonly message: string
  readonly remedy?: string
  readonly stored?: number
}

function describe(error: unknown): ErrorDocument {
  if (error instanceof UsageError)
    return { code: 'ZYQ_CONFIG', message: redactText(error.message), remedy: error.remedy }
  if (error instanceof IncompleteError) {
    const { code, message, remedy, stored } = error
    return { code, message: redactText(message), remedy, stored }
  }
  if (error instanceof ZyQueueError) {
    if (error.code === 'ZYQ_CONFIG') return { code: error.code, message: redactText(error.message) }
    return { code: error.code, message: redactText(error.message), remedy: ERROR_CODES[error.code].remedy }
  }
  // An unexpected error of this program or of the task file: its stack helps most.
  return { code: 'ZYQ_INTERNAL', message: tryRead(() => redactText(stacksOf(error))) }
}

/** The stacks of an error and its causes. Other fields may hold secrets, such as the token of a request. */
function stacksOf(error: unknown, causes = 4): string {
  if (!(error instanceof Error)) return String(error)
  const own = error.stack ?? error.message
  return error.cause === undefined || causes === 0 ? own : `${own}\ncause: ${stacksOf(error.cause, causes - 1)}`
}

/** The stack of the cause if the user's code threw it. The message already contains all other causes. */
function stackOfCause(error: unknown): string | undefined {
  if (!(error instanceof ZyQueueError) || !(error.cause instanceof Error) || 'errors' in error.cause) return undefined
  const foreign =
    error.code === 'ZYQ_TASK_FILE' || error.code === 'ZYQ_BROKER_LOAD' || error.code === 'ZYQ_WORKER_START'
  const { cause } = error
  return foreign ? tryRead(() => redactText(cause.stack ?? cause.message)) : undefined
}

/** Guards against errors of user code whose properties throw. */
function tryRead(read: () => string): string {
  try {
    return read()
  } catch {
    return 'an error that cannot be printed'
  }
}
