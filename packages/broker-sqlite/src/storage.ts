/** Opens the file of a queue, and creates it if it may. Refuses a file that is not an undamaged queue, without writing a byte. */
import {
  accessSync,
  constants,
  existsSync,
  mkdirSync,
  realpathSync,
  statSync,
  writeFileSync,
  type Stats,
} from 'node:fs'
import { basename, dirname, join } from 'node:path'
import { pathToFileURL } from 'node:url'
import { BrokerError, type CodeOf } from '@zyqueue/core/broker'
import { SCHEMA } from './attach.ts'
import { text } from './decode.ts'
import type { Connection, Driver } from './driver.ts'
import { errorCode, SQLITE, sqliteCode } from './errors.ts'
import { pathOf, type Location } from './options.ts'
import { busyRetry } from './busy-retry.ts'
import { processState } from './process-state.ts'
import { WAL_BYTES } from './room.ts'
import { CHECKED_BYTES, checkPages, migrate, recognise } from './schema.ts'

export interface Storage {
  readonly connection: Connection
  /** The real path of the file; absent in memory. */
  readonly path?: string
}

/** Rejects with a `BrokerError` that says what to do, with the native error as its cause. */
export async function openStorage(location: Location, driver: Driver, create: boolean): Promise<Storage> {
  const path = pathOf(location)
  if (path === undefined) return { connection: (processState.memory ??= openMemory(driver)) }
  try {
    if (!create && found(path) === undefined) throw new BrokerError('ZYQ_STORAGE_NOT_FOUND', 'There is no queue file')
    makeFolder(dirname(path), location.kind)
    // SQLite keeps its other files beside the real file, so all processes must use the real path.
    const real = existsSync(path) ? realpathSync(path) : join(realpathSync(dirname(path)), basename(path))
    return { connection: await openFile(real, driver), path: real }
  } catch (error) {
    throw explained(error, path)
  }
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

function makeFolder(folder: string, kind: Location['kind']): void {
  mkdirSync(folder, { recursive: true })
  const ignore = join(folder, '.gitignore')
  if (kind === 'default' && !existsSync(ignore)) writeFileSync(ignore, '*\n')
  // SQLite creates files beside the database. If the folder's permissions forbid it, SQLite reports only "cannot open".
  accessSync(folder, constants.W_OK)
}

async function openFile(path: string, driver: Driver): Promise<Connection> {
  const { isChecked } = await busyRetry(() => examine(path, driver))
  if (!isChecked) await examineInUse(path, driver)
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

/**
 * Reads the file without changing it: `immutable` takes no locks and creates no files. It uses SQLite, because opening and closing
 * the file in another way would drop the locks of this process. While other processes use the queue, their pages may be half
 * written, so then it reads only the header.
 */
function examine(path: string, driver: Driver): { readonly isChecked: boolean } {
  const file = found(path)
  if (file === undefined) return { isChecked: true }
  if (!file.isFile()) throw new BrokerError('ZYQ_UNREACHABLE', 'This is not a file')
  accessSync(path, constants.R_OK | constants.W_OK)
  const inUse = isInUse(path)
  let connection: Connection | undefined
  let isChecked = !inUse || file.size > CHECKED_BYTES
  try {
    connection = driver.open(`${pathToFileURL(path).href}?mode=ro&immutable=1`)
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
  const connection = await busyRetry(() => driver.open(`${pathToFileURL(path).href}?mode=ro`))
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
  ZYQ_AUTH: 'No permission to write the queue file, or its file system is read-only',
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
