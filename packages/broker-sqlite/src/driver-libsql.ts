import { createRequire } from 'node:module'
import { ATTACH, DETACH } from './attach.ts'
import type { Connection, SqlValue, Statement } from './driver.ts'

/** The part of libsql 0.5 that this package uses. Its own types contain `any`. */
interface Libsql {
  new (location: string): LibsqlDatabase
}

interface LibsqlDatabase {
  exec(sql: string): void
  prepare(sql: string): LibsqlStatement
  close(): void
  readonly inTransaction: boolean
}

interface LibsqlStatement {
  /** Takes one array: a Buffer as the only argument would abort the process. */
  run(parameters: readonly SqlValue[]): { readonly changes: number }
  all(parameters: readonly SqlValue[]): readonly (readonly SqlValue[])[]
  raw(enabled: boolean): unknown
}

/** Loaded at first use, so that a Node with `node:sqlite` does not map its addon of nine megabytes. */
let loaded: Libsql | undefined

function load(): Libsql {
  const libsql: Libsql = createRequire(import.meta.url)('libsql')
  return libsql
}

/** A libsql database in memory, with its statements by their text. One file at a time is attached to it. */
interface Host {
  readonly database: LibsqlDatabase
  readonly statements: Map<string, LibsqlStatement>
}

/**
 * Hosts without a file. A libsql statement lives until the garbage collector finds it, and keeps its database open after
 * `close()`: three descriptors and half a megabyte that the collector does not count. DETACH closes the file at once. Hosts and
 * their statements are used again, so there are never more of them than were open at the same time.
 */
const idle: Host[] = []

function newHost(): Host {
  loaded ??= load()
  return { database: new loaded(':memory:'), statements: new Map() }
}

export function openWithLibsql(location: string): Connection {
  const host = idle.pop() ?? newHost()
  try {
    prepare(host, ATTACH).run([location])
  } catch (error) {
    idle.push(host)
    throw error
  }
  let open = true
  const assertOpen = (): void => {
    if (!open) throw new Error('the database connection is not open')
  }
  return {
    exec(sql) {
      assertOpen()
      host.database.exec(sql)
    },
    prepare: (sql) => wrap(prepare(host, sql), assertOpen),
    close() {
      if (!open) return
      open = false
      try {
        if (host.database.inTransaction) host.database.exec('ROLLBACK')
        host.database.exec(DETACH)
        idle.push(host)
      } catch {
        // A statement that failed halfway is still reading. The file is closed when the garbage collector finds it.
        host.database.close()
      }
    },
  }
}

function prepare({ database, statements }: Host, sql: string): LibsqlStatement {
  const known = statements.get(sql)
  if (known !== undefined) return known
  const statement = database.prepare(sql)
  statements.set(sql, statement)
  return statement
}

/** The statement outlives the connection, so each use calls `assertOpen` first. */
function wrap(statement: LibsqlStatement, assertOpen: () => void): Statement {
  let raw = false
  return {
    run(parameters = []) {
      assertOpen()
      return statement.run(parameters).changes
    },
    all(parameters = []) {
      assertOpen()
      if (!raw) statement.raw(true)
      raw = true
      return statement.all(parameters)
    },
  }
}
