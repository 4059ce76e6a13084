import type { Job, WorkerContext } from '../worker/job.ts'

export interface MiddlewareContext {
  readonly job: Job
  readonly worker: WorkerContext
}

/**
 * Wraps the attempts of jobs: it awaits `next` once for what is inside, the handler at last. What it returns is the job's
 * result; what it throws is the attempt's failure.
 */
export type RunMiddleware = (context: MiddlewareContext, next: () => Promise<unknown>) => Promise<unknown>

/** One job before it is checked, encoded and sent. */
export interface Submission {
  readonly task: string
  readonly queue: string
  /** What was submitted. A middleware may replace it. */
  data: unknown
  /** Headers of the job. A middleware may add some: keys in lower case that do not begin with `zyq-`. */
  readonly headers: Record<string, string>
}

/** Sees each job that a task submits, before the schema does. What it throws refuses the submission. */
export type SubmitMiddleware = (submission: Submission) => void | Promise<void>

/** What wraps a task on both sides. A function is the run side. */
export type Middleware = RunMiddleware | { readonly submit?: SubmitMiddleware; readonly run?: RunMiddleware }

export function runSideOf(middleware: Middleware): RunMiddleware | undefined {
  return typeof middleware === 'function' ? middleware : middleware.run?.bind(middleware)
}

export function submitSideOf(middleware: Middleware): SubmitMiddleware | undefined {
  return typeof middleware === 'function' ? undefined : middleware.submit?.bind(middleware)
}

/** One function out of a chain, the first outermost. */
export function compose(
  chain: readonly RunMiddleware[],
  innermost: (context: MiddlewareContext) => Promise<unknown>,
): (context: MiddlewareContext) => Promise<unknown> {
  return chain.reduceRight<(context: MiddlewareContext) => Promise<unknown>>(
    (inner, middleware) => (context) => middleware(context, () => inner(context)),
    innermost,
  )
}
