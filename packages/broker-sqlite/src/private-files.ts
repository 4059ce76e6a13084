/**
 * Creates the files of a queue. Jobs may hold personal data and secrets, so other users of the host can neither read nor write
 * them, and no file is created through a symbolic link.
 */
import {
  closeSync,
  constants,
  existsSync,
  fchmodSync,
  fstatSync,
  mkdirSync,
  openSync,
  statSync,
  writeFileSync,
} from 'node:fs'
import { join } from 'node:path'
import { propertyOf } from '@zyqueue/core/broker'

const FOLDER_MODE = 0o700
const FILE_MODE = 0o600
const PERMISSIONS = 0o777
/** Absent on Windows. */
const NO_SYMBOLIC_LINK = constants.O_NOFOLLOW ?? 0

/** Creates a folder, if it does not exist. With `isIgnored`, git ignores its contents. */
export function createFolder(folder: string, isIgnored: boolean): void {
  mkdirSync(folder, { recursive: true, mode: FOLDER_MODE })
  if (isIgnored) createUnlessPresent(join(folder, '.gitignore'), '*\n')
}

/**
 * Creates an empty file for SQLite, if it does not exist. SQLite would give it the permissions of the umask. Its other files
 * get the permissions of this one.
 */
export function createFile(path: string): void {
  createUnlessPresent(path, '')
}

/** Opens a file beside the queue file `of`, with the same permissions. Throws if it is a link, or no file. */
export function openBeside(of: string, path: string): number {
  const mode = statSync(of).mode & PERMISSIONS
  const descriptor = openSync(path, constants.O_RDWR | constants.O_CREAT | NO_SYMBOLIC_LINK, mode)
  try {
    const file = fstatSync(descriptor)
    if (!file.isFile() || file.nlink !== 1) throw new Error(`${path} is a link, or no file`)
    // The umask may have removed permissions.
    if ((file.mode & PERMISSIONS) !== mode) fchmodSync(descriptor, mode)
    return descriptor
  } catch (error) {
    closeSync(descriptor)
    throw error
  }
}

/** The flag `wx` follows no symbolic link. Throws if there is one that leads nowhere. */
function createUnlessPresent(path: string, text: string): void {
  if (existsSync(path)) return
  try {
    writeFileSync(path, text, { flag: 'wx', mode: FILE_MODE })
  } catch (error) {
    // Another process may have created it meanwhile.
    if (propertyOf(error, 'code') !== 'EEXIST' || !existsSync(path)) throw error
  }
}
