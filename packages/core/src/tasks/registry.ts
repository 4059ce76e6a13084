import { ConfigError } from '../errors.ts'
import type { AnyTask } from './task.ts'

const key: unique symbol = Symbol.for('@zyqueue/core/registry@1')

interface Registry {
  readonly tasks: Map<string, AnyTask>
  /** The tasks of decorated methods. */
  readonly methods: WeakMap<object, AnyTask>
}

// One registry per process: a TypeScript loader or an npx cache may load a second copy of this package.
const home: { [key]?: Registry } = Object(globalThis)

function registry(): Registry {
  return (home[key] ??= { tasks: new Map(), methods: new WeakMap() })
}

/** Throws `ConfigError` (`ZYQ_TASK_DUPLICATE`). */
export function registerTask(task: AnyTask, method?: object): void {
  const { tasks, methods } = registry()
  if (tasks.has(task.name)) {
    throw new ConfigError(
      'ZYQ_TASK_DUPLICATE',
      `Two tasks are named ${JSON.stringify(task.name)}. Rename one. If one file is loaded twice, import it under one path.`,
    )
  }
  tasks.set(task.name, task)
  if (method !== undefined) methods.set(method, task)
}

/** All tasks that this process has defined, in this order. */
export function registeredTasks(): readonly AnyTask[] {
  return [...registry().tasks.values()]
}

export function findTask(name: string): AnyTask | undefined {
  return registry().tasks.get(name)
}

export function taskOfMethod(method: object): AnyTask | undefined {
  return registry().methods.get(method)
}
