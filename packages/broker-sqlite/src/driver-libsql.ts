import { createRequire } from 'node:module'
import type { Connection, SqlValue, Statement } from './driver.ts'

/** What is used of libsql 0.5; its own types are those of better-sqlite3, full of `any`. */
interface Libsql {
  new (location: string): LibsqlDatabase
}

interface LibsqlDatabase {
  exec(sql: string): void
  prepare(sql: string): LibsqlStatement
  close(): void
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

export function openWithLibsql(location: string): Connection {
  loaded ??= load()
  const database = new loaded(location)
  let open = true
  const assertOpen = (): void => {
    if (!open) throw new Error('the database connection is not open')
  }
  return {
    exec: (sql) => database.exec(sql),
    prepare: (sql) => wrap(database.prepare(sql), assertOpen),
    close() {
      if (open) database.close()
      open = false
    },
  }
}

/** A libsql statement goes on writing after its connection was closed: `assertOpen` stands before each use. */
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
