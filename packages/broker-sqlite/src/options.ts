import { statSync } from 'node:fs'
import { dirname, join, resolve } from 'node:path'
import { ConfigError, type ConnectOptions } from '@zyqueue/core/broker'

/** The place of the queue. */
export type Location =
  | { readonly kind: 'memory' }
  /** `.zyqueue/queue.db` in the project that `baseDir` belongs to. */
  | { readonly kind: 'default'; readonly baseDir: string }
  | { readonly kind: 'file'; readonly path: string }

const FORMS = 'sqlite: | sqlite:PATH | sqlite:///ABSOLUTE/PATH | sqlite::memory:'

/** Reads a connection string; does no I/O. Throws `ZYQ_CONNECTION_STRING`. */
export function parseLocation({ connection, baseDir }: ConnectOptions): Location {
  if (connection === undefined) return { kind: 'default', baseDir }
  const path = /^sqlite:(?:\/\/(?=\/))?(.*)$/is.exec(connection)?.[1]
  if (path === undefined || path.startsWith('//') || path.includes('\0')) {
    throw new ConfigError('ZYQ_CONNECTION_STRING', `The SQLite broker reads connection strings of the form ${FORMS}`)
  }
  if (path === '') return { kind: 'default', baseDir }
  if (path === ':memory:') return { kind: 'memory' }
  return { kind: 'file', path: resolve(baseDir, path) }
}

/** The file's path; absent in memory. */
export function pathOf(location: Location): string | undefined {
  if (location.kind === 'default') return defaultPath(location.baseDir)
  return location.kind === 'file' ? location.path : undefined
}

/** `.zyqueue/queue.db` beside the nearest package.json at or above `baseDir`; if there is none, in `baseDir` itself. */
function defaultPath(baseDir: string): string {
  const start = resolve(baseDir)
  for (let folder = start; ; folder = dirname(folder)) {
    const project = statSync(join(folder, 'package.json'), { throwIfNoEntry: false })?.isFile() === true
    if (project) return join(folder, '.zyqueue', 'queue.db')
    if (dirname(folder) === folder) return join(start, '.zyqueue', 'queue.db')
  }
}
