import { ZyQueueError, type ErrorCode } from '@zyqueue/core'

/** Exit codes of the process. The README documents them; scripts rely on them. */
export const EXIT = { ok: 0, failed: 1, usage: 2, unreachable: 3, notFound: 4, unsupported: 5 } as const

export type ExitCode = (typeof EXIT)[keyof typeof EXIT]

const BY_ERROR: Partial<Record<ErrorCode, ExitCode>> = {
  ZYQ_CONFIG: EXIT.usage,
  ZYQ_CONNECTION_STRING: EXIT.usage,
  ZYQ_TASK_NAME: EXIT.usage,
  ZYQ_QUEUE_NAME: EXIT.usage,
  ZYQ_UNREACHABLE: EXIT.unreachable,
  ZYQ_CONNECTION_LOST: EXIT.unreachable,
  ZYQ_BROKER_BUSY: EXIT.unreachable,
  ZYQ_QUEUE_NOT_FOUND: EXIT.notFound,
  ZYQ_JOB_NOT_FOUND: EXIT.notFound,
  ZYQ_STORAGE_NOT_FOUND: EXIT.notFound,
  ZYQ_TASK_UNKNOWN: EXIT.notFound,
  ZYQ_BROKER_NOT_FOUND: EXIT.notFound,
  ZYQ_UNSUPPORTED: EXIT.unsupported,
}

export function exitCodeOf(error: unknown): ExitCode {
  return error instanceof ZyQueueError ? (BY_ERROR[error.code] ?? EXIT.failed) : EXIT.failed
}
