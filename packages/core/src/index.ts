export { queueJob, remoteTask, taskOf } from './tasks/queue-job.ts'
export { findTask, registeredTasks } from './tasks/registry.ts'
export { Task, type AnyTask, type Handler } from './tasks/task.ts'
export type { ListTask } from './tasks/submit-arguments.ts'
export type { RetryPolicy } from './middleware/retry-policy.ts'
export type { BatchOptions, BrokerTaskOptions, Priority, SubmitOptions, TaskOptions } from './tasks/options.ts'
export type { JobData } from './messages/json-data.ts'
export { JobHandles, type JobHandle } from './producer/job-handles.ts'
export type { CallOptions } from './producer/call.ts'
export { producers } from './producer/producers.ts'
export type { SubmitManyOptions, SubmitProgress } from './producer/submit-stream.ts'
export { SubmitError, type FailedSubmission } from './producer/submit-error.ts'
export type { ErrorFields } from './error-fields.ts'
export { readFailure, type Failure } from './messages/failure.ts'
export { createWorker, type Worker } from './worker/worker.ts'
export type { WorkerEvents, WorkerListener } from './worker/worker-events.ts'
export type { WorkerStatus } from './worker/status.ts'
export type { WorkerOptions } from './worker/options.ts'
export type { Job, WorkerContext } from './worker/job.ts'
export type {
  Middleware,
  MiddlewareContext,
  RunMiddleware,
  Submission,
  SubmitMiddleware,
} from './middleware/middleware.ts'
export type { BatchHooks, EndingJob, QueuedMessage } from './hooks/batch-hooks.ts'
export type { Outcome } from './worker/outcome.ts'
export type { JobEnd, JobEndEvent, RunTrace, SubmitTrace, WorkerStateEvent } from './diagnostics.ts'
export { retry } from './middleware/retry.ts'
export { timeout } from './middleware/timeout.ts'
export { validate } from './middleware/validate.ts'
export { Discard, Postpone, Reject, Retry, type PostponeOptions, type RetryOptions } from './middleware/signals.ts'
export {
  createLogger,
  LOG_LEVELS,
  type Log,
  type Logger,
  type LoggerLike,
  type LoggerOptions,
  type LogLevel,
} from './logger.ts'
export { openBroker, type OpenBroker } from './connection/open-broker.ts'
export { installedBrokers, type InstalledBroker } from './connection/discovery.ts'
export { setResolution, type Resolution } from './connection/resolution.ts'
export { BrokerError, CodecError, ConfigError, JobError, ZyQueueError } from './errors.ts'
export { ERROR_CODES, type ErrorCode, type ErrorKind } from './error-codes.ts'
