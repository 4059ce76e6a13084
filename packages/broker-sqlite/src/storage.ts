/** Opens the file of a queue, and creates it if it may. Refuses a file that is not an undamaged queue, without writing a byte. */
import {
  accessSync,
  closeSync,
  constants,
  existsSync,
  openSync,
  readSync,
  realpathSync,
  statSync,
  type Stats,
} from 'node:fs'
import { Buffer } from 'node:buffer'
import { basename, dirname, join } from 'node:path'
import { pathToFileURL } from 'node:url'
import { BrokerError, type CodeOf } from '@zyqueue/core/broker'
import { SCHEMA } from './attach.ts'
import { text } from './decode.ts'
import type { Connection, Driver } from './driver.ts'
import { errorCode, SQLITE, sqliteCode } from './errors.ts'
import { pathOf, type Location } from './options.ts'
import { busyRetry } from './busy-retry.ts'
import { createFile, createFolder } from './private-files.ts'
import { processState } from './process-state.ts'
import { WAL_BYTES } from './room.ts'
import { CHECKED_BYTES, checkPages, isCurrent, migrate, recognise } from './schema.ts'

export interface Storage {
  readonly connection: Connection
  /** The real path of the file; absent in memory. */
  readonly path?: string
  /** Present if the connection can only read. Returns true if the file has changed, so that it must be opened again. */
  readonly isStale?: () => boolean
  /** Present if the connection does not know it, because it ignores what other processes do. */
  readonly journalMode?: 'wal' | 'delete'
}

/** Rejects with a `BrokerError` that says what to do, with the native error as its cause. */
export async function openStorage(location: Location, driver: Driver, create: boolean): Promise<Storage> {
  const path = pathOf(location)
  if (path === undefined) return { connection: (processState.memory ??= openMemory(driver)) }
  try {
    if (!create && found(path) === undefined) throw new BrokerError('ZYQ_STORAGE_NOT_FOUND', 'There is no queue file')
    createFolder(dirname(path), location.kind === 'default')
    // SQLite creates files beside the database. If the folder's permissions forbid it, SQLite reports only "cannot open".
    accessSync(dirname(path), constants.W_OK)
    // SQLite keeps its other files beside the real file, so all processes must use the real path.
    const real = existsSync(path) ? realpathSync(path) : join(realpathSync(dirname(path)), basename(path))
    createFile(real)
    return { connection: await openFile(real, driver), path: real }
  } catch (error) {
    throw explained(error, path)
  }
}

/**
 * Opens an existing file without changing it or creating another file: a command that only reads must leave no trace. If no
 * process uses the queue, the connection takes no locks, so the caller must check `isStale` after each read. Rejects like
 * `openStorage`.
 */
export async function openToRead(location: Location, driver: Driver): Promise<Storage> {
  const path = pathOf(location)
  const file = path === undefined ? undefined : found(path)
  // A killed process has left a journal, which only a connection that can write may apply.
  if (path === undefined || file?.isFile() !== true || existsSync(`${path}-journal`)) {
    return openStorage(location, driver, false)
  }
  try {
    const real = realpathSync(path)
    await check(real, driver, constants.R_OK)
    const isShared = isInUse(real)
    const connection = await busyRetry(() => driver.open(readOnly(real, isShared)))
    const isReadable = await busyRetry(() => isCurrent(connection)).catch((error: unknown) => {
      connection.close()
      throw error
    })
    if (isReadable) {
      if (isShared) return { connection, path: real, isStale: () => false }
      const isStale = (): boolean => isInUse(real) || hasChanged(real, file)
      return { connection, path: real, isStale, journalMode: journalModeOf(real) }
    }
    connection.close()
  } catch (error) {
    throw explained(error, path)
  }
  return openStorage(location, driver, false)
}

/** The existing file. Undefined also for an empty file, which does not hold a queue yet. */
function found(path: string): Stats | undefined {
  const file = statSync(path, { throwIfNoEntry: false })
  return file?.isFile() && file.size === 0 ? undefined : file
}

/** Lives as long as the process: submitted jobs stay even if the producer is closed. */
function openMemory(driver: Driver): Connection {
  const connection = driver.open(':memory:')
  migrate(connection)
  return connection
}

async function openFile(path: string, driver: Driver): Promise<Connection> {
  await check(path, driver, constants.R_OK | constants.W_OK)
  const connection = await busyRetry(() => driver.open(path))
  try {
    await busyRetry(() => {
      connection.exec(
        `PRAGMA busy_timeout = 0; PRAGMA ${SCHEMA}.synchronous = FULL; PRAGMA ${SCHEMA}.journal_size_limit = ${WAL_BYTES}`,
      )
      migrate(connection)
    })
    await busyRetry(() => {
      const [[mode] = []] = connection.prepare(`PRAGMA ${SCHEMA}.journal_mode`).all()
      // If the file system has no shared memory, SQLite keeps its rollback journal, which is slower and equally safe.
      if (text(mode) !== 'wal') connection.prepare(`PRAGMA ${SCHEMA}.journal_mode = WAL`).all()
    })
    return connection
  } catch (error) {
    connection.close()
    throw error
  }
}

/** Throws a `BrokerError` if the file is not an undamaged queue, or if this process does not have these permissions. */
async function check(path: string, driver: Driver, permissions: number): Promise<void> {
  const { isChecked } = await busyRetry(() => examine(path, driver, permissions))
  if (!isChecked) await examineInUse(path, driver)
}

/** The URI for a connection that only reads. Without `isShared` it takes no locks and creates no files. */
function readOnly(path: string, isShared: boolean): string {
  return `${pathToFileURL(path).href}?mode=ro${isShared ? '' : '&immutable=1'}`
}

/**
 * Reads the file without changing it: `immutable` takes no locks and creates no files. It uses SQLite, because opening and closing
 * the file in another way would drop the locks of this process. While other processes use the queue, their pages may be half
 * written, so then it reads only the header.
 */
function examine(path: string, driver: Driver, permissions: number): { readonly isChecked: boolean } {
  const file = found(path)
  if (file === undefined) return { isChecked: true }
  if (!file.isFile()) throw new BrokerError('ZYQ_UNREACHABLE', 'This is not a file')
  accessSync(path, permissions)
  const inUse = isInUse(path)
  let connection: Connection | undefined
  let isChecked = !inUse || file.size > CHECKED_BYTES
  try {
    connection = driver.open(readOnly(path, false))
    recognise(connection)
    if (!inUse && file.size <= CHECKED_BYTES) checkPages(connection)
  } catch (error) {
    // While other processes write, the file may only look damaged.
    if (!isDamage(error) || !(inUse || isInUse(path) || hasChanged(path, file))) throw error
    isChecked = file.size > CHECKED_BYTES
  } finally {
    connection?.close()
  }
  return { isChecked }
}

/** Reads the header of a file that no process uses: https://sqlite.org/fileformat.html#the_database_header */
function journalModeOf(path: string): 'wal' | 'delete' {
  const descriptor = openSync(path, 'r')
  const writeVersion = Buffer.alloc(1)
  readSync(descriptor, writeVersion, 0, 1, 18)
  closeSync(descriptor)
  return writeVersion[0] === 2 ? 'wal' : 'delete'
}

function hasChanged(path: string, before: Stats): boolean {
  const now = found(path)
  return now?.ino !== before.ino || now.size !== before.size || now.mtimeMs !== before.mtimeMs
}

function isInUse(path: string): boolean {
  return existsSync(`${path}-wal`) || existsSync(`${path}-journal`)
}

function isDamage(error: unknown): boolean {
  return sqliteCode(error) === SQLITE.CORRUPT || (error instanceof BrokerError && error.code === 'ZYQ_STORAGE_DAMAGED')
}

/**
 * Checks a file that other processes use, or that a killed process has left: its newest pages are in the `-wal` file. A read-only
 * connection checks them in place. A connection that can write would move them into a damaged file when it closes.
 */
async function examineInUse(path: string, driver: Driver): Promise<void> {
  const connection = await busyRetry(() => driver.open(readOnly(path, true)))
  try {
    await busyRetry(() => {
      connection.exec('PRAGMA busy_timeout = 0')
      if (recognise(connection) === 'ours') checkPages(connection)
    })
  } finally {
    connection.close()
  }
}

const MEANINGS: Partial<Record<CodeOf<'broker'>, string>> = {
  ZYQ_AUTH: 'No permission to read or write the queue file, or its file system is read-only',
  ZYQ_UNREACHABLE: 'The queue file cannot be opened',
  ZYQ_STORAGE_DAMAGED: 'The queue file is damaged; it was left as it was',
  ZYQ_STORAGE_FOREIGN: 'The file is not a ZyQueue queue; it was left as it was',
  ZYQ_BROKER_FULL: 'The disk is full',
}

/** SQLite's own messages do not name the file. */
function explained(error: unknown, path: string): BrokerError {
  const code = errorCode(error)
  const meaning = (error instanceof BrokerError ? error.message : MEANINGS[code]) ?? 'The queue file cannot be opened'
  return new BrokerError(code, `${meaning}: ${path}`, { cause: error instanceof BrokerError ? error.cause : error })
}
