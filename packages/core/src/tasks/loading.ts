import { ConfigError } from '../errors.ts'

const key: unique symbol = Symbol.for('@zyqueue/core/loading@1')

// One value per process: the CLI's copy of this package sets it, and the task file's copy reads it.
const home: { [key]?: string | undefined } = Object(globalThis)

/** Imports a task file. Until it is loaded, this process refuses to submit. Settles as `load` does. */
export async function whileLoading<Result>(taskFile: string, load: () => Promise<Result>): Promise<Result> {
  home[key] = taskFile
  try {
    return await load()
  } finally {
    home[key] = undefined
  }
}

/** Throws `ConfigError` (`ZYQ_TASK_FILE`) while a task file is loaded. */
export function refuseWhileLoading(task: string): void {
  if (home[key] === undefined) return
  throw new ConfigError(
    'ZYQ_TASK_FILE',
    `${home[key]} submits a job of ${task} while it is loaded. Each worker process loads the task file and would submit ` +
      'the job again. Submit in another file, which imports the task.',
  )
}
