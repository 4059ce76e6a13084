/** Runs the real `wc` and `sha256sum` on files. */
import { spawnSync } from 'node:child_process'
import type { Figures } from './examine.ts'

/** The number of paths in one command line, well below the limit of every system. */
const PATHS_AT_ONCE = 500

/** The figures of `wc` and `sha256sum` by the path of the file. Throws if GNU coreutils are not installed or fail. */
export function askCoreutils(paths: readonly string[]): Map<string, Omit<Figures, 'binary'>> {
  const counts = askWc(paths)
  const hashes = askSha256sum(paths)
  const figures = new Map<string, Omit<Figures, 'binary'>>()
  for (const [index, path] of paths.entries()) {
    const [count, sha256] = [counts[index], hashes.get(path)]
    if (count !== undefined && sha256 !== undefined) figures.set(path, { ...count, sha256 })
  }
  return figures
}

function askWc(paths: readonly string[]): Omit<Figures, 'binary' | 'sha256'>[] {
  const output = ask('wc', ['-lwc', '--files0-from=-'], paths.join('\0'))
  // One line per file, because names with a line feed are quoted. The last line is the total.
  return output
    .split('\n')
    .slice(0, paths.length)
    .map((line) => {
      const [lines = 0, words = 0, bytes = 0] = line.trim().split(/\s+/, 3).map(Number)
      return { lines, words, bytes }
    })
}

function askSha256sum(paths: readonly string[]): Map<string, string> {
  const hashes = new Map<string, string>()
  for (let from = 0; from < paths.length; from += PATHS_AT_ONCE) {
    const output = ask('sha256sum', ['-z', '--', ...paths.slice(from, from + PATHS_AT_ONCE)])
    for (const entry of output.split('\0')) hashes.set(entry.slice(66), entry.slice(0, 64))
  }
  return hashes
}

function ask(program: string, args: readonly string[], input = ''): string {
  const env = { ...process.env, LC_ALL: 'C.UTF-8' }
  const said = spawnSync(program, args, { input, env, encoding: 'utf8', maxBuffer: 2 ** 30 })
  if (said.error !== undefined) throw said.error
  if (said.status !== 0) throw new Error(said.stderr.trim())
  return said.stdout
}
