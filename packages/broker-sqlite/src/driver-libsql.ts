import { createRequire } from 'node:module'
import { ATTACH, DETACH } from './attach.ts'
import type { Connection, SqlValue, Statement } from './driver.ts'

/** What is used of libsql 0.5; its own types are those of better-sqlite3, full of `any`. */
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
  /** Takes one array: a lone Buffer would abort the process. */
  run(parameters: readonly SqlValue[]): { readonly changes: number }
  all(parameters: readonly SqlValue[]): readonly (readonly SqlValue[])[]
  raw(enabled: boolean): unknown
}

/** Loaded on first use: its addon is nine megabytes that a Node with `node:sqlite` need not map. */
let loaded: Libsql | undefined

function load(): Libsql {
  const libsql: Libsql = createRequire(import.meta.url)('libsql')
  return libsql
}

/** A database of libsql in memory, to which one file at a time is attached, and its statements by their text. */
interface Host {
  readonly database: LibsqlDatabase
  readonly statements: Map<string, LibsqlStatement>
}

/**
 * Hosts without a file. A statement of libsql lives until the garbage collector finds it, and keeps its database open after
 * `close()`: three descriptors and half a megabyte, of which the collector sees nothing. DETACH lets go of the file at once. The
 * host and its statements are used again, so that there are no more of them than were ever open at once.
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
        // A statement that failed half way still reads: the file goes with it, at a garbage collection.
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

/** The statement outlives the connection: `assertOpen` stands before each use. */
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
