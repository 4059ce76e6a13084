/** Adds up the results of the workers and compares them with `wc` and `sha256sum`: `node summary.ts [folder]`. */
import { createHash } from 'node:crypto'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { askCoreutils } from './check.ts'
import { listFiles, type Listing } from './files.ts'
import { readResults, type Result } from './results.ts'

/** Prints the summary. Returns whether the results are complete and correct. */
export function summarize({ folder, files, skipped }: Listing): boolean {
  const { byFile, jobsOf } = readResults()
  const results = files.flatMap((file) => byFile.get(join(folder, file)) ?? [])
  const sum = (of: (result: Result) => number): string =>
    results.reduce((all, one) => all + of(one), 0).toLocaleString('en')
  const binary = results.filter((result) => result.binary).length
  const shares = [...jobsOf].map(([pid, jobs]) => `${jobs} by ${pid}`).join(', ')
  const rows = [
    ['files', results.length.toLocaleString('en'), [binary > 0 && `${binary} binary`, omitted(skipped)]],
    ['lines', sum(({ lines }) => lines), []],
    ['words', sum(({ words }) => words), []],
    ['bytes', sum(({ bytes }) => bytes), []],
    ['sha256', digest(folder, results), ['of the output of sha256sum']],
    ['jobs', [...jobsOf.values()].reduce((all, jobs) => all + jobs, 0).toLocaleString('en'), [shares]],
  ] as const
  const width = Math.max(...rows.filter(([name]) => name !== 'sha256').map(([, figure]) => figure.length))
  for (const [name, figure, notes] of rows) {
    const said = notes.filter((note) => typeof note === 'string' && note !== '').join(', ')
    console.log(`  ${name.padEnd(7)} ${figure.padStart(width)}${said === '' ? '' : `  (${said})`}`)
  }
  const absent = missing(files, folder, byFile)
  const problems = absent.length > 0 ? absent : compare(results)
  for (const problem of problems.slice(0, 10)) console.log(`  ${problem}`)
  return problems.length === 0
}

function omitted(skipped: readonly string[]): string {
  return skipped.length === 0
    ? ''
    : `${skipped.length} left out because they are not readable files: ${skipped
        .slice(0, 3)
        .map((path) => JSON.stringify(path))
        .join(', ')}${skipped.length > 3 ? ', …' : ''}`
}

function missing(files: readonly string[], folder: string, byFile: ReadonlyMap<string, Result>): string[] {
  return files.filter((file) => !byFile.has(join(folder, file))).map((file) => `no result for ${JSON.stringify(file)}`)
}

/** The digest of the output of `sha256sum` for these files, in their order. */
function digest(folder: string, results: readonly Result[]): string {
  const hash = createHash('sha256')
  for (const { file, sha256 } of results) {
    const name = file.slice(folder.length + 1)
    const escaped = name.replaceAll('\\', '\\\\').replaceAll('\n', '\\n')
    hash.update(`${escaped === name ? '' : '\\'}${sha256}  ${escaped}\n`)
  }
  return hash.digest('hex')
}

/** The differences between the results and the output of coreutils. */
function compare(results: readonly Result[]): string[] {
  let theirs: ReturnType<typeof askCoreutils>
  try {
    theirs = askCoreutils(results.map(({ file }) => file))
  } catch (error) {
    console.log(`\n  not checked, GNU coreutils are missing: ${error instanceof Error ? error.message : String(error)}`)
    return []
  }
  const differences = results.flatMap((ours) => {
    const real = theirs.get(ours.file)
    const fields = (['lines', 'words', 'bytes', 'sha256'] as const).filter(
      (field) => ours[field] !== real?.[field] && !(field === 'words' && ours.binary),
    )
    return fields.map((field) => `${JSON.stringify(ours.file)}: ${field} ${ours[field]}, expected ${real?.[field]}`)
  })
  if (differences.length === 0) {
    const files = `${theirs.size} ${theirs.size === 1 ? 'file' : 'files'}`
    console.log(`\n  wc         agrees on lines, words and bytes of ${files}`)
    console.log(`  sha256sum  agrees on the digests of ${files}`)
  }
  return differences
}

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  process.exitCode = summarize(listFiles(process.argv[2] ?? '.')) ? 0 : 1
}
