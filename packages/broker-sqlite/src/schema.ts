/**
 * The table `job` has the content of a job, unchanged from publish to ack. Its state is a row of a few bytes in exactly one of four
 * small tables: `ready`, `delayed`, `held` and `dead`. So a claim, a release or a rejection never copies a body. Each of the four
 * is clustered in the order in which it is read, so claims do not become slower as the backlog grows.
 */
import { BrokerError } from '@zyqueue/core/broker'
import { SCHEMA } from './attach.ts'
import { integer, text } from './decode.ts'
import type { Connection } from './driver.ts'

/** `ZyQu`: `file(1)` and this package recognise a queue by it. */
const APPLICATION_ID = 0x5a79_5175

/** Migration n leads from version n to n + 1. Never edit a released migration; add the next one. */
export const MIGRATIONS: readonly string[] = [
  `
  CREATE TABLE ${SCHEMA}.queue (id INTEGER PRIMARY KEY, name TEXT NOT NULL UNIQUE) STRICT;

  -- seq: the order of arrival. rank: 9 - priority, so that ascending is the order of service. message: see message.ts.
  CREATE TABLE ${SCHEMA}.job (
    seq INTEGER PRIMARY KEY, queue INTEGER NOT NULL, rank INTEGER NOT NULL, stored_at INTEGER NOT NULL,
    deliveries INTEGER NOT NULL, message BLOB NOT NULL
  ) STRICT;

  CREATE TABLE ${SCHEMA}.ready (
    queue INTEGER NOT NULL, rank INTEGER NOT NULL, seq INTEGER NOT NULL, PRIMARY KEY (queue, rank, seq)
  ) STRICT, WITHOUT ROWID;

  CREATE TABLE ${SCHEMA}.delayed (
    queue INTEGER NOT NULL, due INTEGER NOT NULL, seq INTEGER NOT NULL, PRIMARY KEY (queue, due, seq)
  ) STRICT, WITHOUT ROWID;

  -- One row a consumer, however many jobs it holds. AUTOINCREMENT: an id is the fence, and must never come again.
  -- renewed, expires: see lease-clock.ts.
  CREATE TABLE ${SCHEMA}.lease (
    id INTEGER PRIMARY KEY AUTOINCREMENT, consumer TEXT NOT NULL UNIQUE, renewed INTEGER NOT NULL,
    expires INTEGER NOT NULL, since INTEGER NOT NULL, queues TEXT NOT NULL, client TEXT NOT NULL
  ) STRICT;

  CREATE TABLE ${SCHEMA}.held (
    lease INTEGER NOT NULL, seq INTEGER NOT NULL, PRIMARY KEY (lease, seq)
  ) STRICT, WITHOUT ROWID;

  CREATE TABLE ${SCHEMA}.dead (
    queue INTEGER NOT NULL, died_at INTEGER NOT NULL, seq INTEGER NOT NULL, id TEXT NOT NULL, reason TEXT NOT NULL,
    PRIMARY KEY (queue, died_at, seq)
  ) STRICT, WITHOUT ROWID;
  CREATE INDEX ${SCHEMA}.dead_by_id ON dead (queue, id);
  `,
]

export const VERSION = MIGRATIONS.length

/** Files up to this size are checked completely when they are opened, which takes less than a tenth of a second. */
export const CHECKED_BYTES = 16 * 1024 * 1024

/**
 * Whether the database holds a queue of this or an older version (`ours`), or nothing (`empty`). Only reads.
 * Throws `ZYQ_STORAGE_FOREIGN`, `ZYQ_STORAGE_VERSION`, or SQLite's own error if the file is no database or a damaged one.
 */
export function recognise(connection: Connection): 'ours' | 'empty' {
  const applicationId = pragma(connection, 'application_id')
  const version = pragma(connection, 'user_version')
  const objects = integer(connection.prepare(`SELECT count(*) FROM ${SCHEMA}.sqlite_schema`).all()[0]?.[0])
  if (applicationId === 0 && version === 0 && objects === 0) return 'empty'
  if (applicationId !== APPLICATION_ID) {
    throw new BrokerError(
      'ZYQ_STORAGE_FOREIGN',
      'The file is a SQLite database, but not a ZyQueue queue; it was left as it was',
    )
  }
  if (version > VERSION) {
    throw new BrokerError(
      'ZYQ_STORAGE_VERSION',
      `Update @zyqueue/broker-sqlite: it reads queue files up to version ${VERSION}, and this one has version ${version}`,
    )
  }
  return 'ours'
}

/** True if the database is a queue of this version. Only reads. Throws like `recognise`. */
export function isCurrent(connection: Connection): boolean {
  return recognise(connection) === 'ours' && pragma(connection, 'user_version') === VERSION
}

/** Reads the whole file. Throws `ZYQ_STORAGE_DAMAGED`. */
export function checkPages(connection: Connection): void {
  const finding = text(connection.prepare(`PRAGMA ${SCHEMA}.quick_check(1)`).all()[0]?.[0])
  if (finding === 'ok') return
  throw new BrokerError('ZYQ_STORAGE_DAMAGED', 'The queue file is damaged; it was left as it was', {
    cause: new Error(finding),
  })
}

/** Brings the database to `VERSION`, in one transaction. If several processes try at once, one does it; the others are BUSY and try again. */
export function migrate(connection: Connection, migrations: readonly string[] = MIGRATIONS): void {
  if (recognise(connection) === 'ours' && pragma(connection, 'user_version') === migrations.length) return
  connection.exec('BEGIN IMMEDIATE')
  try {
    recognise(connection)
    for (const migration of migrations.slice(pragma(connection, 'user_version'))) connection.exec(migration)
    connection.exec(
      `PRAGMA ${SCHEMA}.application_id = ${APPLICATION_ID}; PRAGMA ${SCHEMA}.user_version = ${migrations.length}; COMMIT`,
    )
  } catch (error) {
    rollback(connection)
    throw error
  }
}

/** After some errors SQLite has ended the transaction by itself, and there is nothing to roll back. */
export function rollback(connection: Connection): void {
  try {
    connection.exec('ROLLBACK')
  } catch {
    // No transaction was open.
  }
}

function pragma(connection: Connection, name: 'application_id' | 'user_version'): number {
  return integer(connection.prepare(`PRAGMA ${SCHEMA}.${name}`).all()[0]?.[0])
}
