import { execFileSync } from 'node:child_process'
import { accessSync, constants, lstatSync, readdirSync, realpathSync } from 'node:fs'
import { join } from 'node:path'

export interface Listing {
  /** The folder that was meant, without symbolic links. */
  readonly folder: string
  /** Relative paths, sorted as git sorts them. */
  readonly files: readonly string[]
  /** What is there and is no job: symbolic links, submodules, files that cannot be read. */
  readonly skipped: readonly string[]
}

/** The files that git knows in a checkout; elsewhere all, but for `.git` and `node_modules`. Throws where there is no such folder. */
export function listFiles(given: string): Listing {
  const folder = realpathSync(given)
  const tracked = gitFiles(folder)
  const paths = tracked.length > 0 ? tracked : walk(folder, '')
  const files = paths.filter((path) => isReadableFile(join(folder, path)))
  const taken = new Set(files)
  return { folder, files, skipped: paths.filter((path) => !taken.has(path)) }
}

/** [] where it is no checkout, git is not there, or it tracks nothing in this folder. */
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
    // Tracked and deleted, not ours to read, or of a name that is not UTF-8.
    return false
  }
}
