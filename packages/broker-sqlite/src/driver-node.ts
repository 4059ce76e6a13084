import { ATTACH } from './attach.ts'
import type { Connection, SqlValue, Statement } from './driver.ts'

/** The part of `node:sqlite` that this package uses. The types of Node 20 do not have it. */
interface NodeSqlite {
  readonly DatabaseSync: new (location: string) => NodeDatabase
}

interface NodeDatabase {
  exec(sql: string): void
  prepare(sql: string): NodeStatement
  close(): void
}

interface NodeStatement {
  run(...parameters: readonly SqlValue[]): { readonly changes: number | bigint }
  all(...parameters: readonly SqlValue[]): readonly (readonly SqlValue[] | Readonly<Record<string, SqlValue>>)[]
  /** From 22.16 and 24.0. */
  setReturnArrays?(enabled: boolean): void
}

/** The module, if this Node has it without a flag. Suppresses its warning that it is experimental, and no other warning. */
export function loadNodeSqlite(): NodeSqlite | undefined {
  const warn = process.emitWarning
  const warnButNotOfSqlite = (...parameters: readonly unknown[]): void => {
    const [warning, type] = parameters
    const ofSqlite = type === 'ExperimentalWarning' && String(warning).startsWith('SQLite')
    if (!ofSqlite) Reflect.apply(warn, process, parameters)
  }
  Object.assign(process, { emitWarning: warnButNotOfSqlite })
  try {
    const module = process.getBuiltinModule('node:sqlite')
    return isNodeSqlite(module) ? module : undefined
  } finally {
    Object.assign(process, { emitWarning: warn })
  }
}

function isNodeSqlite(module: object | undefined): module is NodeSqlite {
  return module !== undefined && 'DatabaseSync' in module && typeof module.DatabaseSync === 'function'
}

export function openWithNode(sqlite: NodeSqlite, location: string): Connection {
  const database = new sqlite.DatabaseSync(':memory:')
  try {
    database.prepare(ATTACH).run(location)
  } catch (error) {
    database.close()
    throw error
  }
  let open = true
  return {
    exec: (sql) => database.exec(sql),
    prepare: (sql) => wrap(database.prepare(sql)),
    close() {
      if (open) database.close()
      open = false
    },
  }
}

function wrap(statement: NodeStatement): Statement {
  statement.setReturnArrays?.(true)
  return {
    run: (parameters = []) => Number(statement.run(...parameters).changes),
    all: (parameters = []) => statement.all(...parameters).map((row) => (isArray(row) ? row : Object.values(row))),
  }
}

function isArray(row: readonly SqlValue[] | Readonly<Record<string, SqlValue>>): row is readonly SqlValue[] {
  return Array.isArray(row)
}
