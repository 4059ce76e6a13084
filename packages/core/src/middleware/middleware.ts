import type { Job, WorkerContext } from '../worker/job.ts'

export interface MiddlewareContext {
  readonly job: Job
  readonly worker: WorkerContext
}

/**
 * Wraps the attempts of jobs: awaits `next` once for what is inside, the handler at last. What it returns is the job's
 * result; what it throws is the attempt's failure.
 */
export type Middleware = (context: MiddlewareContext, next: () => Promise<unknown>) => Promise<unknown>

/** One function out of a chain, the first outermost. */
export function compose(
  chain: readonly Middleware[],
  innermost: (context: MiddlewareContext) => Promise<unknown>,
): (context: MiddlewareContext) => Promise<unknown> {
  return chain.reduceRight<(context: MiddlewareContext) => Promise<unknown>>(
    (inner, middleware) => (context) => middleware(context, () => inner(context)),
    innermost,
  )
}
