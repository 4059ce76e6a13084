/**
 * The seam to SQLite itself. Everything above it sees these two interfaces; which engine is below is decided here, once
 * a process: `node:sqlite` where this Node has it without a flag (22.13 and later), else libsql's prebuilt addon.
 */
import { openWithLibsql } from './driver-libsql.ts'
import { loadNodeSqlite, openWithNode } from './driver-node.ts'

/** What SQLite stores. No booleans: libsql aborts the process on one. */
export type SqlValue = number | string | Uint8Array | null

export interface Statement {
  /**
   * Runs it and resolves to how many rows changed. Parameters are numbered `?1`, `?2`, …; the first is never bytes:
   * node:sqlite would take it for an object of named parameters.
   */
  run(parameters?: readonly SqlValue[]): number
  /** Its rows, each an array of columns. */
  all(parameters?: readonly SqlValue[]): readonly (readonly SqlValue[])[]
}

/** One connection, with the file as its schema `SCHEMA`. Synchronous: SQLite is a library, and a call is a few microseconds or one flush of the disk. */
export interface Connection {
  exec(sql: string): void
  prepare(sql: string): Statement
  /** Rolls back what is open, and lets go of the file. Idempotent. */
  close(): void
}

export interface Driver {
  readonly name: 'node:sqlite' | 'libsql'
  /** A path, `:memory:`, or a `file:` URI with SQLite's own parameters. */
  open(location: string): Connection
}

/** The engines that this Node can load, the preferred first. */
export function drivers(): readonly [Driver, ...Driver[]] {
  const libsql: Driver = { name: 'libsql', open: openWithLibsql }
  const sqlite = loadNodeSqlite()
  return sqlite === undefined
    ? [libsql]
    : [{ name: 'node:sqlite', open: (location) => openWithNode(sqlite, location) }, libsql]
}
