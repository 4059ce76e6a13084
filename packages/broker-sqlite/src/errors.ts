import { BrokerError, errorCodeFrom, propertyOf, type CodeOf } from '@zyqueue/core/broker'

/** Primary result codes of SQLite (https://sqlite.org/rescode.html); the extended ones hold them in their low byte. */
export const SQLITE = {
  ERROR: 1,
  PERM: 3,
  BUSY: 5,
  LOCKED: 6,
  READONLY: 8,
  IOERR: 10,
  CORRUPT: 11,
  FULL: 13,
  CANTOPEN: 14,
  PROTOCOL: 15,
  TOOBIG: 18,
  AUTH: 23,
  NOTADB: 26,
} as const

const CODES: Readonly<Record<number, CodeOf<'broker'>>> = {
  [SQLITE.PERM]: 'ZYQ_AUTH',
  [SQLITE.BUSY]: 'ZYQ_BROKER_BUSY',
  [SQLITE.LOCKED]: 'ZYQ_BROKER_BUSY',
  [SQLITE.READONLY]: 'ZYQ_AUTH',
  // Outside of a commit nothing was stored, and opening the file again may help.
  [SQLITE.IOERR]: 'ZYQ_CONNECTION_LOST',
  [SQLITE.CORRUPT]: 'ZYQ_STORAGE_DAMAGED',
  [SQLITE.FULL]: 'ZYQ_BROKER_FULL',
  [SQLITE.CANTOPEN]: 'ZYQ_UNREACHABLE',
  [SQLITE.PROTOCOL]: 'ZYQ_BROKER_BUSY',
  [SQLITE.TOOBIG]: 'ZYQ_BODY_TOO_LARGE',
  [SQLITE.AUTH]: 'ZYQ_AUTH',
  [SQLITE.NOTADB]: 'ZYQ_STORAGE_FOREIGN',
}

/** Codes of the file system that `errorCodeFrom` does not know: from calls for the folder, and for the identity of the file. */
const FILE_SYSTEM_CODES: Readonly<Record<string, CodeOf<'broker'>>> = {
  EROFS: 'ZYQ_AUTH',
  ENOSPC: 'ZYQ_BROKER_FULL',
  EDQUOT: 'ZYQ_BROKER_FULL',
  ENOENT: 'ZYQ_UNREACHABLE',
  ENOTDIR: 'ZYQ_UNREACHABLE',
  EEXIST: 'ZYQ_UNREACHABLE',
  EISDIR: 'ZYQ_UNREACHABLE',
  ELOOP: 'ZYQ_UNREACHABLE',
  ENAMETOOLONG: 'ZYQ_UNREACHABLE',
  EIO: 'ZYQ_CONNECTION_LOST',
}

/** The code of any error of this broker, of SQLite through either driver, or of the file system. Never throws. */
export const errorCode: (error: unknown) => CodeOf<'broker'> = errorCodeFrom((error) => {
  const native = sqliteCode(error)
  // Queue files are in UTF-8. SQLite has no code of its own for a file that is not.
  if (native === SQLITE.ERROR && /same text encoding/.test(String(propertyOf(error, 'message')))) {
    return 'ZYQ_STORAGE_FOREIGN'
  }
  return native === undefined ? undefined : (CODES[native] ?? 'ZYQ_BROKER')
}, FILE_SYSTEM_CODES)

/** The primary result code of an error of SQLite, otherwise undefined. */
export function sqliteCode(error: unknown): number | undefined {
  // node:sqlite has `errcode`, libsql `rawCode`.
  for (const name of ['errcode', 'rawCode']) {
    const code = propertyOf(error, name)
    if (typeof code === 'number') return code & 0xff
  }
  return undefined
}

/** True if another process held a lock: the same call may succeed soon. */
export function isBusy(error: unknown): boolean {
  const code = sqliteCode(error)
  return code === SQLITE.BUSY || code === SQLITE.LOCKED || code === SQLITE.PROTOCOL
}

export function closed(): BrokerError {
  return new BrokerError('ZYQ_CLOSED', 'The SQLite broker was closed')
}

export function leaseLost(consumerId: string): BrokerError {
  return new BrokerError('ZYQ_LEASE_LOST', `The lease of consumer ${consumerId} has ended`)
}

export function fileLost(path = ''): BrokerError {
  return new BrokerError('ZYQ_CONNECTION_LOST', `The queue file was removed or replaced: ${path}`)
}
