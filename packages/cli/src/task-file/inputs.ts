import { statSync } from 'node:fs'
import { basename, dirname, join } from 'node:path'

/** What a task file is made of, noted while it is read: also what a file that does not compile has been seen to need. */
export interface Inputs {
  /** Every file of the project that the entry reaches, itself included. */
  readonly files: Set<string>
  /** Where imports lead to, by path, that lead to nothing yet. Their suffix may be missing, or another than the file's. */
  readonly missing: Set<string>
}

export function noInputs(): Inputs {
  return { files: new Set(), missing: new Set() }
}

export function joined(one: Inputs, other: Inputs): Inputs {
  return { files: new Set([...one.files, ...other.files]), missing: new Set([...one.missing, ...other.missing]) }
}

/** A path without the suffixes of its name: what `./more`, `./more.js` and `more.ts` have in common. */
export function stemOf(path: string): string {
  return join(dirname(path), basename(path).replace(/(?<=.)\..*$/, ''))
}

/** The first part of a missing path that has to appear, without its suffix: the rest can only come after it. */
export function firstAbsent(missing: string): string {
  if (isFolder(missing)) return join(missing, 'index')
  let absent = missing
  while (!isFolder(dirname(absent)) && absent !== dirname(absent)) absent = dirname(absent)
  return stemOf(absent)
}

function isFolder(path: string): boolean {
  return statSync(path, { throwIfNoEntry: false })?.isDirectory() === true
}
