import { execFileSync } from 'node:child_process'
import { accessSync, constants, lstatSync, readdirSync, realpathSync } from 'node:fs'
import { join } from 'node:path'

export interface Listing {
  /** The path of the folder, without symbolic links. */
  readonly folder: string
  /** Relative paths in git's order. */
  readonly files: readonly string[]
  /** Entries without a job: symbolic links, submodules, files that cannot be read. */
  readonly skipped: readonly string[]
}

/** The files that git tracks; outside of a checkout, all files except `.git` and `node_modules`. Throws if the folder does not exist. */
export function listFiles(given: string): Listing {
  const folder = realpathSync(given)
  const tracked = gitFiles(folder)
  const paths = tracked.length > 0 ? tracked : walk(folder, '')
  const files = paths.filter((path) => isReadableFile(join(folder, path)))
  const taken = new Set(files)
  return { folder, files, skipped: paths.filter((path) => !taken.has(path)) }
}

/** Returns [] if the folder is no checkout, git is not installed, or it tracks no file in this folder. */
function gitFiles(folder: string): string[] {
  try {
    const output = execFileSync('git', ['ls-files', '-z'], {
      cwd: folder,
      encoding: 'utf8',
      maxBuffer: 2 ** 30,
      stdio: ['ignore', 'pipe', 'ignore'],
    })
    // A file with a merge conflict is listed more than once.
    return [...new Set(output.split('\0'))].filter((path) => path !== '')
  } catch {
    return []
  }
}

function walk(root: string, within: string): string[] {
  return readdirSync(join(root, within), { withFileTypes: true })
    .toSorted((a, b) => (a.name < b.name ? -1 : 1))
    .flatMap((entry) => {
      const path = join(within, entry.name)
      if (!entry.isDirectory()) return [path]
      return entry.name === '.git' || entry.name === 'node_modules' ? [] : walk(root, path)
    })
}

function isReadableFile(path: string): boolean {
  try {
    accessSync(path, constants.R_OK)
    return lstatSync(path).isFile()
  } catch {
    // The file is tracked but deleted, is not readable, or has a name that is not UTF-8.
    return false
  }
}
