import { inspect } from 'node:util'
import { ERROR_CODES, ZyQueueError } from '@zyqueue/core'
import { UsageError } from './usage-error.ts'
import { EXIT, exitCodeOf } from './exit-codes.ts'
import { IncompleteError } from './incomplete-error.ts'
import { redactText } from './redact.ts'

/**
 * Writes to standard error what went wrong and how to fix it. With `--json` it writes one line: `{"error":{code,message,remedy}}`.
 * Returns what the process has to say to the shell.
 */
export function report(error: unknown, json: boolean): number {
  const told = describe(error)
  if (json) {
    process.stderr.write(`${JSON.stringify({ error: told })}\n`)
  } else {
    const { code, message, remedy } = told
    // A message may go on below with the lines that it is about.
    const [summary, ...below] = message.split('\n')
    const label = error instanceof ZyQueueError ? ` (${code})` : ''
    const parts = [[`zyqueue: ${summary}${label}`, ...below].join('\n'), stackOfCause(error), remedy]
    process.stderr.write(`${parts.filter((part) => part !== undefined).join('\n\n')}\n`)
  }
  if (error instanceof IncompleteError) return error.exitCode
  return error instanceof UsageError ? EXIT.usage : exitCodeOf(error)
}

interface Told {
  readonly code: string
  readonly message: string
  readonly remedy?: string
  readonly stored?: number
}

function describe(error: unknown): Told {
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
  // Not one of ours: a fault of this program, or of the task file that it runs. The stack is what helps.
  return { code: 'ZYQ_INTERNAL', message: readable(() => redactText(inspect(error))) }
}

/** Where the user's own code threw, its stack is what helps. Other causes are told by the message already. */
function stackOfCause(error: unknown): string | undefined {
  if (!(error instanceof ZyQueueError) || !(error.cause instanceof Error) || 'errors' in error.cause) return undefined
  const foreign =
    error.code === 'ZYQ_TASK_FILE' || error.code === 'ZYQ_BROKER_LOAD' || error.code === 'ZYQ_WORKER_START'
  const { cause } = error
  return foreign ? readable(() => redactText(cause.stack ?? cause.message)) : undefined
}

/** What the code of users throws need not be readable. */
function readable(read: () => string): string {
  try {
    return read()
  } catch {
    return 'an error that cannot be shown'
  }
}
