import type { StandardSchemaV1 } from '@standard-schema/spec'
import type { LIST_SERVER } from '../connection/discovery.ts'
import { ConfigError } from '../errors.ts'
import type { Job, WorkerContext } from '../worker/job.ts'
import type { TaskOptions } from './options.ts'
import { registerTask, taskOfMethod } from './registry.ts'
import type { ListTask } from './submit-arguments.ts'
import { Task, type AnyTask, type Handler } from './task.ts'

/** A method that `@queueJob` can turn into a task. */
type Method<This, Data, Result> = (this: This, worker: WorkerContext, job: Job<Data>) => Result | Promise<Result>

type WithSchema<Schema extends StandardSchemaV1> = TaskOptions & {
  /** Types `job.data`; checked at submit and again at receipt. */
  readonly data: Schema
}

type AnyServer = TaskOptions['server']

interface WithServer<Server extends AnyServer> {
  readonly server?: Server
}

type ListServer = typeof LIST_SERVER

/** A task; one that is declared with `server: 'gearman'` also submits a list without `{ batch: true }`. */
type TaskOf<Server, Data, Result> = [Server] extends [ListServer]
  ? ListTask<Data> & Task<Data, Result>
  : Task<Data, Result>

/**
 * Defines a task: one object that submits jobs and has the handler that runs them.
 *
 * ```ts
 * export const resize = queueJob({ data: z.object({ file: z.string() }) }, async function resize(worker, job) {
 *   return job.data.file.length
 * })
 * await resize.submit({ file: 'a.png' })
 * ```
 *
 * Without a handler it returns a TC39 decorator for a static or instance method; `taskOf(Class.method)` returns the task. An
 * instance method runs on the first instance that is created.
 *
 * Throws `ConfigError`: `ZYQ_CONFIG`, `ZYQ_TASK_NAME`, `ZYQ_QUEUE_NAME`, `ZYQ_TASK_DUPLICATE`.
 */
export function queueJob<Schema extends StandardSchemaV1, Result, Server extends AnyServer = AnyServer>(
  options: WithSchema<Schema> & WithServer<Server>,
  handler: Handler<StandardSchemaV1.InferOutput<Schema>, Result>,
): TaskOf<Server, StandardSchemaV1.InferInput<Schema>, Result>
export function queueJob<Data, Result, Server extends AnyServer = AnyServer>(
  options: TaskOptions & WithServer<Server>,
  handler: Handler<Data, Result>,
): TaskOf<Server, Data, Result>
export function queueJob<Schema extends StandardSchemaV1>(
  options: WithSchema<Schema>,
): <This, Result>(
  method: Method<This, StandardSchemaV1.InferOutput<Schema>, Result>,
  context: ClassMethodDecoratorContext<This, Method<This, StandardSchemaV1.InferOutput<Schema>, Result>>,
) => void
export function queueJob(
  options?: TaskOptions,
): <This, Data, Result>(
  method: Method<This, Data, Result>,
  context: ClassMethodDecoratorContext<This, Method<This, Data, Result>>,
) => void
export function queueJob(
  options: TaskOptions & { readonly data?: StandardSchemaV1 } = {},
  handler?: Handler<never, unknown>,
): unknown {
  if (typeof options === 'function') {
    throw new ConfigError('ZYQ_CONFIG', 'queueJob: the options come before the handler: queueJob({}, handler).')
  }
  if (handler === undefined) return decorator(options)
  if (typeof handler !== 'function') {
    throw new ConfigError('ZYQ_CONFIG', 'queueJob: the handler is not a function.')
  }
  const task = new Task(nameOf(options.name, handler), options, { run: handler })
  registerTask(task)
  return task
}

/**
 * Defines a task whose handler is in another program. It only submits.
 * Throws `ConfigError`.
 */
export function remoteTask<Data = unknown>(
  name: string,
  options: Omit<TaskOptions, 'name'> & { readonly server: ListServer },
): TaskOf<ListServer, Data, unknown>
export function remoteTask<Data = unknown>(name: string, options?: Omit<TaskOptions, 'name'>): Task<Data>
export function remoteTask(name: string, options: Omit<TaskOptions, 'name'> = {}): AnyTask {
  return new Task(name, options)
}

/** The data type of a handler or method. */
type DataOf<Run> = Run extends (worker: WorkerContext, job: Job<infer Data>) => unknown ? Data : never

/** The task of a method that `@queueJob` decorates. Throws `ConfigError` (`ZYQ_TASK_UNKNOWN`). */
export function taskOf<Run extends (worker: WorkerContext, job: Job<never>) => unknown>(
  method: Run,
): Task<DataOf<Run>, Awaited<ReturnType<Run>>>
export function taskOf(method: (worker: WorkerContext, job: Job<never>) => unknown): AnyTask {
  const task = taskOfMethod(method)
  if (task === undefined) {
    throw new ConfigError(
      'ZYQ_TASK_UNKNOWN',
      `The method ${method.name || '(anonymous)'} is not decorated with @queueJob.`,
    )
  }
  return task
}

function nameOf(name: string | undefined, handler: { readonly name: string }): string {
  const meant = name ?? handler.name
  if (meant === '') {
    throw new ConfigError('ZYQ_TASK_NAME', 'The task has no name: name its handler function, or set `name`.')
  }
  return meant
}

function decorator(options: TaskOptions & { readonly data?: StandardSchemaV1 }) {
  return (method: Method<unknown, never, unknown>, context: ClassMethodDecoratorContext) => {
    // Legacy decorators receive a class, a name and a descriptor.
    if (typeof context !== 'object' || context.kind !== 'method') {
      throw new ConfigError(
        'ZYQ_CONFIG',
        '@queueJob is a standard decorator for methods. Remove `experimentalDecorators` from the tsconfig.json.',
      )
    }
    if (context.private) throw new ConfigError('ZYQ_CONFIG', '@queueJob: a private method cannot be a task.')
    let receiver: { readonly value: unknown } | undefined
    context.addInitializer(function bind(this: unknown) {
      receiver ??= { value: this }
    })
    const name = nameOf(options.name, { name: String(context.name) })
    const run = (worker: WorkerContext, job: Job<never>): unknown => {
      if (receiver === undefined) {
        throw new ConfigError(
          'ZYQ_CONFIG',
          `The task ${name} is an instance method, but no instance was created. Create one in the task file, or make the method static.`,
        )
      }
      return method.call(receiver.value, worker, job)
    }
    registerTask(new Task(name, options, { run }), method)
  }
}
