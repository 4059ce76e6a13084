import { realpathSync, statSync } from 'node:fs'
import { dirname, resolve } from 'node:path'
import { pathToFileURL } from 'node:url'
import { inspect } from 'node:util'
import { ConfigError, registeredTasks, setResolution, ZyQueueError } from '@zyqueue/core'
import { z } from 'zod'
import { resolveFrom } from '../broker.ts'
import { EXIT } from '../exit-codes.ts'
import { reserveStandardOutput } from '../output.ts'
import { compileFiles } from './compile.ts'
import { compilerFor, type Compiler } from './compiler.ts'
import { resolveCore } from './core.ts'
import { isScript, isTypeScript } from './files.ts'
import { readGraph } from './graph.ts'
import { noInputs, type Inputs } from './inputs.ts'
import { requiredModules } from './required-modules.ts'
import type { LoaderData } from './loader-hooks.ts'
import { register } from './loader.ts'

/** A task file that can be imported in this process or in worker processes. */
export interface TaskFile {
  /** Absolute and without symbolic links, like the module's URL in Node. */
  readonly path: string
  /** The module to import, and the data to call its `register` with, before the file is imported. Absent if Node can import the file alone. */
  readonly loader?: { readonly module: string; readonly data: LoaderData }
}

/**
 * Finds a task file. If it is TypeScript, compiles it with all project files that it imports. With `inputs`, which `--watch`
 * passes, records the files that it imports, also of a JavaScript file. `option` is the one that names the file, for errors.
 *
 * Throws `ConfigError`: `ZYQ_CONFIG` if the file does not exist, `ZYQ_TASK_FILE` if it does not compile.
 */
export async function openTaskFile(given: string, inputs?: Inputs, option = '--task-file'): Promise<TaskFile> {
  const path = findFile(given, option)
  if (!isTypeScript(path) && inputs === undefined) return { path }
  const compiler = await compilerFor(path)
  try {
    const graph = await readGraph(compiler, path, inputs ?? noInputs())
    const files = await compileFiles(compiler, graph)
    if (Object.keys(files).length === 0) return { path }
    const module = new URL('./loader.js', import.meta.url).href
    return { path, loader: { module, data: { files, requiredModules: requiredModules(graph, path, files) } } }
  } catch (error) {
    if (error instanceof ZyQueueError) throw error
    throw new ConfigError('ZYQ_TASK_FILE', await compileMessage(compiler, given, error), { cause: error })
  } finally {
    await compiler.stop()
  }
}

/**
 * Imports a task file and resolves to the tasks that it defines. Call it once per process. Paths in connections are relative
 * to `baseDir`, by default the file's folder. Output of its code goes to standard error.
 *
 * Throws `ConfigError` `ZYQ_TASK_FILE` if the file throws, with its error as the cause, or if it defines no task; and the
 * errors of `queueJob`.
 */
export async function importTaskFile(
  { path, loader }: TaskFile,
  baseDir: string = dirname(path),
): Promise<ReturnType<typeof registeredTasks>> {
  resolveCore(path)
  setResolution({ resolveFrom: resolveFrom(path), baseDir })
  const onExit = (): void => {
    process.stderr.write(`zyqueue: ${path} ended the process while it was loaded\n`)
    process.exitCode = EXIT.failed
  }
  process.once('exit', onExit)
  reserveStandardOutput()
  try {
    if (loader !== undefined) await register(loader.data)
    const { whileLoading } = await import('@zyqueue/core/supervisor')
    await whileLoading(path, () => import(pathToFileURL(path).href))
  } catch (error) {
    if (error instanceof ZyQueueError) throw error
    const why = error instanceof Error ? error.message : inspect(error)
    throw new ConfigError('ZYQ_TASK_FILE', `${path} threw while it was loaded: ${why}`, { cause: error })
  } finally {
    process.off('exit', onExit)
  }
  const tasks = registeredTasks()
  if (tasks.length === 0)
    throw new ConfigError(
      'ZYQ_TASK_FILE',
      `${path} defines no task. Call queueJob() in it, or import a file that does.`,
    )
  return tasks
}

function findFile(given: string, option: string): string {
  const path = resolve(given)
  const stat = statSync(path, { throwIfNoEntry: false })
  if (stat === undefined) throw new ConfigError('ZYQ_CONFIG', `${option}: ${path} does not exist`)
  if (!stat.isFile() || !isScript(path)) {
    throw new ConfigError('ZYQ_CONFIG', `${option}: ${path} is not a TypeScript or JavaScript file`)
  }
  return realpathSync(path)
}

const buildFailure = z.object({
  errors: z.array(
    z.object({
      text: z.string(),
      location: z
        .object({ file: z.string(), line: z.number(), column: z.number(), length: z.number(), lineText: z.string() })
        .nullable(),
    }),
  ),
})

/** The compiler's messages with the source lines. */
async function compileMessage(compiler: Compiler, given: string, error: unknown): Promise<string> {
  const failure = buildFailure.safeParse(error)
  if (!failure.success) return `cannot compile ${given}`
  const color = process.stderr.isTTY
  const frames = await compiler.formatMessages(failure.data.errors, { kind: 'error', color })
  return `${given} does not compile\n\n${frames.join('').trimEnd()}`
}
