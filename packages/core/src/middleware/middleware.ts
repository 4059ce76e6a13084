import type { Job, WorkerContext } from '../worker/job.ts'

export interface MiddlewareContext {
  readonly job: Job
  readonly worker: WorkerContext
}

/**
 * Wraps the attempts of jobs. It must await `next` once, which runs the inner middleware and the handler. Its return value is
 * the job's result; an error that it throws fails the attempt.
 */
export type RunMiddleware = (context: MiddlewareContext, next: () => Promise<unknown>) => Promise<unknown>

/** One job before it is checked, encoded and sent. */
export interface Submission {
  readonly task: string
  readonly queue: string
  /** The submitted data. A middleware may replace it. */
  data: unknown
  /** Headers of the job. A middleware may add headers: keys in lower case that do not begin with `zyq-`. */
  readonly headers: Record<string, string>
}

/** Runs for each job that a task submits, before the schema. An error that it throws rejects the submission. */
export type SubmitMiddleware = (submission: Submission) => void | Promise<void>

/** Wraps a task's submissions and runs. A function is the run side. */
export type Middleware = RunMiddleware | { readonly submit?: SubmitMiddleware; readonly run?: RunMiddleware }

export function runSideOf(middleware: Middleware): RunMiddleware | undefined {
  return typeof middleware === 'function' ? middleware : middleware.run?.bind(middleware)
}

export function submitSideOf(middleware: Middleware): SubmitMiddleware | undefined {
  return typeof middleware === 'function' ? undefined : middleware.submit?.bind(middleware)
}

/** Composes a chain into one function. The first middleware is the outermost. */
export function compose(
  chain: readonly RunMiddleware[],
  innermost: (context: MiddlewareContext) => Promise<unknown>,
): (context: MiddlewareContext) => Promise<unknown> {
  return chain.reduceRight<(context: MiddlewareContext) => Promise<unknown>>(
    (inner, middleware) => (context) => middleware(context, () => inner(context)),
    innermost,
  )
}
