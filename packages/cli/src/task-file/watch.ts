import { existsSync, readdirSync, watch, type FSWatcher } from 'node:fs'
import { dirname, join } from 'node:path'
import type { Logger } from '@zyqueue/core'
import { openTaskFile, type TaskFile } from './index.ts'
import { firstAbsent, union, noInputs, stemOf, type Inputs } from './inputs.ts'

/** How long to wait after a change, because editors write a file in several steps. */
const SETTLED_MS = 60

/**
 * Compiles the file again and calls back after one of its inputs has changed, or a missing input has appeared. If the file
 * does not compile, logs the error and waits for the next change.
 */
export function watchTaskFile(
  path: string,
  first: Inputs,
  logger: Logger,
  onChange: (taskFile: TaskFile) => void,
): Disposable {
  const watchers = new Map<string, FSWatcher>()
  let inputs = first
  let absent = new Set<string>()
  let timer: NodeJS.Timeout | undefined
  let closed = false
  let running = Promise.resolve()

  const changed = (): void => {
    clearTimeout(timer)
    timer = setTimeout(() => void (running = running.then(reload)), SETTLED_MS)
  }

  // Watch folders, not files, because editors replace a file by a new one.
  const follow = (next: Inputs): void => {
    inputs = next
    const gone = [...inputs.files].filter((file) => !existsSync(file))
    absent = new Set([...inputs.missing, ...gone].map(firstAbsent))
    const folders = new Set(
      [...inputs.files, ...absent].map((file) => dirname(file)).filter((folder) => existsSync(folder)),
    )
    for (const [folder, watcher] of watchers) {
      if (folders.has(folder)) continue
      watcher.close()
      watchers.delete(folder)
    }
    for (const folder of folders) if (!watchers.has(folder)) start(folder)
  }

  const start = (folder: string): void => {
    const failed = (error: unknown): void =>
      logger.warn({ folder, error: error instanceof Error ? error.message : String(error) }, 'cannot watch folder')
    try {
      const watcher = watch(folder, (_event, name) => {
        if (name === null || inputs.files.has(join(folder, name)) || appears(folder, name)) changed()
      })
      watchers.set(folder, watcher.on('error', failed))
      // A missing file may have appeared since the imports were read.
      if (readdirSync(folder).some((name) => appears(folder, name))) changed()
    } catch (error) {
      failed(error)
    }
  }

  const appears = (folder: string, name: string): boolean => absent.has(stemOf(join(folder, name)))

  const reload = async (): Promise<void> => {
    const read = noInputs()
    try {
      const taskFile = await openTaskFile(path, read)
      if (closed) return
      follow(read)
      logger.info({ files: read.files.size }, 'sources changed, restarting the workers')
      onChange(taskFile)
    } catch (error) {
      if (closed) return
      // Keep the previous inputs too: the compiler stopped before it had read all files.
      follow(union(inputs, read))
      logger.error(
        { error: error instanceof Error ? error.message : String(error) },
        'cannot reload; the workers keep running the previous sources',
      )
    }
  }

  follow(first)
  return {
    [Symbol.dispose]() {
      closed = true
      clearTimeout(timer)
      for (const watcher of watchers.values()) watcher.close()
    },
  }
}
