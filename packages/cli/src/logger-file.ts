import type { Logger, LogLevel } from '@zyqueue/core'
import { supervisorFor } from './task-file/core.ts'
import { openTaskFile, type TaskFile } from './task-file/index.ts'
import { register } from './task-file/loader.ts'

/** The module of `--logger`, which this process and each worker process import. */
export interface LoggerFile {
  /** The logger of this process. */
  readonly logger: Logger
  readonly path: string
  /** The task file's loader, which then also loads this module if it is TypeScript. */
  loaderFor(taskFile: TaskFile): TaskFile['loader']
}

/** Compiles the module if it is TypeScript, and imports it. Rejects with `ConfigError`. */
export async function openLoggerFile(given: string, taskFile: string, level: LogLevel): Promise<LoggerFile> {
  const { path, loader } = await openTaskFile(given, undefined, '--logger')
  if (loader !== undefined) await register(loader.data)
  const { importLogger } = await supervisorFor(taskFile)
  return {
    path,
    logger: await importLogger(path, level),
    loaderFor({ loader: ofTasks = loader }) {
      if (loader === undefined || ofTasks === undefined) return ofTasks
      const files = { ...loader.data.files, ...ofTasks.data.files }
      const requiredModules = [...new Set([...loader.data.requiredModules, ...ofTasks.data.requiredModules])]
      return { ...loader, data: { files, requiredModules } }
    },
  }
}
