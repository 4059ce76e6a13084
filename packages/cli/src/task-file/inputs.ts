import { statSync } from 'node:fs'
import { basename, dirname, join } from 'node:path'

/** The files that a task file imports, recorded while it is read, also if it does not compile. */
export interface Inputs {
  /** Every project file that the entry imports, directly or not, and the entry itself. */
  readonly files: Set<string>
  /** The paths of imports whose file does not exist yet. The suffix may be missing, or differ from the file's. */
  readonly missing: Set<string>
}

export function noInputs(): Inputs {
  return { files: new Set(), missing: new Set() }
}

export function union(one: Inputs, other: Inputs): Inputs {
  return { files: new Set([...one.files, ...other.files]), missing: new Set([...one.missing, ...other.missing]) }
}

/** A path without suffixes: `./more`, `./more.js` and `more.ts` have the same stem. */
export function stemOf(path: string): string {
  return join(dirname(path), basename(path).replace(/(?<=.)\..*$/, ''))
}

/** The stem of the first missing part of a path. The rest can only appear after it. */
export function firstAbsent(missing: string): string {
  if (isFolder(missing)) return join(missing, 'index')
  let absent = missing
  while (!isFolder(dirname(absent)) && absent !== dirname(absent)) absent = dirname(absent)
  return stemOf(absent)
}

function isFolder(path: string): boolean {
  return statSync(path, { throwIfNoEntry: false })?.isDirectory() === true
}
