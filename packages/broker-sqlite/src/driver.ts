/**
 * The interface to SQLite itself. This file chooses the engine, once per process: `node:sqlite` if this Node has it without a
 * flag (22.13 and later), otherwise libsql's prebuilt addon.
 */
import { openWithLibsql } from './driver-libsql.ts'
import { loadNodeSqlite, openWithNode } from './driver-node.ts'

/** What SQLite stores. No booleans: libsql aborts the process on one. */
export type SqlValue = number | string | Uint8Array | null

export interface Statement {
  /**
   * Runs the statement and returns the number of changed rows. Parameters are numbered `?1`, `?2`, …. The first must not be
   * bytes: node:sqlite would take it for an object of named parameters.
   */
  run(parameters?: readonly SqlValue[]): number
  /** Its rows, each an array of columns. */
  all(parameters?: readonly SqlValue[]): readonly (readonly SqlValue[])[]
}

/** One connection, with the file as its schema `SCHEMA`. Synchronous: a call takes a few microseconds or one disk flush. */
export interface Connection {
  exec(sql: string): void
  prepare(sql: string): Statement
  /** Rolls back an open transaction, and closes the file. Idempotent. */
  close(): void
}

export interface Driver {
  readonly name: 'node:sqlite' | 'libsql'
  /** A path, `:memory:`, or a `file:` URI with SQLite's own parameters. */
  open(location: string): Connection
}

/** The engines that this Node can load, the preferred one first. */
export function drivers(): readonly [Driver, ...Driver[]] {
  const libsql: Driver = { name: 'libsql', open: openWithLibsql }
  const sqlite = loadNodeSqlite()
  return sqlite === undefined
    ? [libsql]
    : [{ name: 'node:sqlite', open: (location) => openWithNode(sqlite, location) }, libsql]
}
