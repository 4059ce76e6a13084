/** Tests the built demo, as `pnpm demo` runs it: with real processes, a real queue file, the real `wc` and `sha256sum`. */
import { execFile } from 'node:child_process'
import { randomBytes } from 'node:crypto'
import { mkdirSync, mkdtempSync, readdirSync, rmSync, symlinkSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { promisify } from 'node:util'
import { afterEach, beforeEach, describe, expect, test } from 'vitest'
import { askCoreutils } from '../dist/check.js'
import { examine } from '../dist/examine.js'
import { listFiles } from '../dist/files.js'

let folder: string

beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'zyqueue-quickstart-test-'))
})
afterEach(() => rmSync(folder, { recursive: true, force: true }))

/** 6 files, 8 lines, 15 words, 77 bytes. */
const CONTENTS: Readonly<Record<string, string | Buffer>> = {
  empty: '',
  'no line feed at the end': 'one two\nthree',
  'with\na line feed': 'a b c\nd\n',
  'naïve – 名前.txt': 'Привет → мир\n— は\n',
  '-n': '\tindented\u00a0text\r\n',
  'back\\slash': Buffer.from([0, 1, 0xff, 0x20, 0x41, 0x0a, 0x0a]),
}

function fill(): void {
  mkdirSync(join(folder, 'input', 'a folder'), { recursive: true })
  for (const [name, content] of Object.entries(CONTENTS))
    writeFileSync(join(folder, 'input', 'a folder', name), content)
  symlinkSync('a folder/empty', join(folder, 'input', 'link to a file'))
  symlinkSync('..', join(folder, 'input', 'link upwards'))
  symlinkSync('nowhere', join(folder, 'input', 'link to nothing'))
}

interface Ended {
  readonly code: number
  readonly stdout: string
  readonly stderr: string
}

async function run(
  script: string,
  args: readonly string[],
  env: Readonly<Record<string, string>> = {},
): Promise<Ended> {
  const file = fileURLToPath(new URL(`../dist/${script}`, import.meta.url))
  const options = { cwd: folder, env: { ...process.env, ...env }, timeout: 120_000 }
  try {
    return { code: 0, ...(await promisify(execFile)(process.execPath, [file, ...args], options)) }
  } catch (error) {
    if (!(error instanceof Error && 'code' in error && 'stdout' in error && 'stderr' in error)) throw error
    return { code: Number(error.code), stdout: String(error.stdout), stderr: String(error.stderr) }
  }
}

/** The figure of each row of the summary. */
function figures(stdout: string): Record<string, number> {
  const rows = stdout.matchAll(/^ {2}(files|lines|words|bytes|jobs) +([\d,]+)/gm)
  return Object.fromEntries([...rows].map(([, name = '', figure = '']) => [name, Number(figure.replaceAll(',', ''))]))
}

describe('the demo', () => {
  test('hashes and counts every file of a folder, and deletes its temporary files', async () => {
    fill()
    mkdirSync(join(folder, 'tmp'))
    const { code, stdout, stderr } = await run('demo.js', ['input'], { TMPDIR: join(folder, 'tmp') })
    expect(stderr).toBe('')
    expect(figures(stdout)).toEqual({ files: 6, lines: 8, words: 15, bytes: 77, jobs: 6 })
    expect(stdout).toContain('3 left out')
    expect(stdout).toContain('1 binary')
    expect(stdout).toMatch(/wc +agrees on lines, words and bytes of 6 files\n +sha256sum +agrees/)
    expect(code).toBe(0)
    expect(readdirSync(join(folder, 'tmp'))).toEqual([])
  })

  test('prints an error if there is nothing to do', async () => {
    const { code, stdout } = await run('demo.js', [folder])
    expect(stdout).toContain('0 files')
    expect(code).toBe(1)
    expect(await run('demo.js', ['nowhere'])).toEqual({
      code: 2,
      stdout: '',
      stderr: 'The folder nowhere does not exist\n',
    })
  })
})

describe('the summary', () => {
  const row = { job: 'j1', sha256: '0'.repeat(64), lines: 1, words: 2, bytes: 4, binary: false }

  test.each([
    [
      'a wrong figure',
      [{ ...row, sha256: '89f3a3d9fc55a66eb1d9c2b9e0b8b7ee4b0d1fa0d4bc0f36e8a2a0a6a41ed4b6' }],
      /"sha256"|sha256 89f3/,
    ],
    ['a file without a result', [], /no result for "file"/],
  ])('finds %s', async (_, rows, said) => {
    mkdirSync(join(folder, 'input'))
    writeFileSync(join(folder, 'input', 'file'), 'a b\n')
    const { folder: real } = listFiles(join(folder, 'input'))
    const lines = rows.map((each) => `${JSON.stringify({ ...each, file: join(real, 'file') })}\n`)
    writeFileSync(join(folder, '1.ndjson'), `${lines.join('')}{"job":"half a li`)
    const { code, stdout } = await run('summary.js', ['input'], { RESULTS: folder })
    expect(stdout).toMatch(said)
    expect(stdout).not.toContain('agrees')
    expect(code).toBe(1)
  })
})

describe('a listing', () => {
  test('of a checkout has the files that git tracks', async () => {
    fill()
    const git = (...args: readonly string[]) => promisify(execFile)('git', args, { cwd: join(folder, 'input') })
    await git('init', '-q')
    await git('add', 'a folder/empty', 'a folder/with\na line feed', 'link upwards')
    rmSync(join(folder, 'input', 'a folder', 'empty'))
    const { files, skipped } = listFiles(join(folder, 'input'))
    expect(files).toEqual(['a folder/with\na line feed'])
    expect(skipped).toEqual(['a folder/empty', 'link upwards'])
  })
})

test('examine() agrees with coreutils, across chunks and for bytes that are not text', async () => {
  const words = ['word', 'Wörter', '言葉', '—', '\u2060', '\u00a0', '\ufeff', '🙂', '\n', ' ', '\t\v\f\r', '\u2028']
  const contents = [
    ...Array.from({ length: 20 }, () => words.toSorted(() => Math.random() - 0.5).join('')),
    words.join(' ').repeat(5_000),
    'é'.repeat(100_000),
    randomBytes(200_000),
  ]
  const paths = contents.map((content, index) => {
    const path = join(folder, `${index}`)
    writeFileSync(path, content)
    return path
  })
  const theirs = askCoreutils(paths)
  for (const path of paths) {
    const { binary, words: counted, ...ours } = await examine(path)
    const { words: real, ...exact } = theirs.get(path) ?? { words: -1 }
    expect(ours).toEqual(exact)
    if (!binary) expect([path, counted]).toEqual([path, real])
  }
})
