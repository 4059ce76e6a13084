import { execFile, execFileSync } from 'node:child_process'
import { existsSync, mkdirSync, readFileSync, rmSync, symlinkSync, writeFileSync } from 'node:fs'
import { basename, dirname, join } from 'node:path'
import { promisify } from 'node:util'
import { describe, expect, test } from 'vitest'
import { ERROR_CODES } from '@zyqueue/core'
import { withCapabilities } from '../capabilities.js'
import { cliPage, errorsPage, WITH_CAPABILITIES } from '../generate-docs.js'
import { checkedBlocks, documents, read, relativeLinks } from '../markdown.js'
import { root } from '../packages.js'

const run = promisify(execFile)

/** A folder in a package that depends on the packages that users install, so that imports and `npx` find them. */
const workshop = join(root, 'scripts', '.snippets')

describe('reading Markdown', () => {
  test('finds links, but not in code', () => {
    const text = 'a [b](./c.md#d) `[x](y)` [e](https://f.example) [g](#h)\n```\n[i](j)\n```\n[k]: ../l.md\n'
    expect(relativeLinks(text)).toEqual(['./c.md', '../l.md'])
  })

  test('finds the blocks to check', () => {
    const text = '```ts tasks.ts\na\n```\n\n```sh run\nb\n```\n\n```ts\nc\n```\n````md\n```ts run\nd\n```\n````\n'
    expect(checkedBlocks(text)).toEqual([
      { language: 'ts', run: false, quickStart: false, file: 'tasks.ts', code: 'a\n', line: 1 },
      { language: 'sh', run: true, quickStart: false, file: undefined, code: 'b\n', line: 5 },
    ])
  })
})

test('the page of errors is current (node scripts/generate-docs.js)', () => {
  expect(read('docs/errors.md')).toBe(errorsPage(ERROR_CODES))
})

test('the page of the command line is current (node scripts/generate-docs.js)', async () => {
  expect(read('docs/cli.md')).toBe(await cliPage())
})

test.each(WITH_CAPABILITIES)(
  'the table of brokers in %s is current (node scripts/generate-docs.js)',
  async (document) => {
    expect(read(document)).toBe(await withCapabilities(read(document)))
  },
)

test('no document, docstring or example answers HTTP 429 with Retry, which uses up retries', () => {
  const sources = execFileSync('git', ['ls-files', 'packages/*/src/*.ts', 'examples/*.ts'], {
    cwd: root,
    encoding: 'utf8',
  })
  const wrong = [...documents(), ...sources.split('\n').filter(Boolean)].flatMap((path) =>
    read(path)
      .split('\n')
      .filter((line) => /429\b.*\bnew Retry\b/.test(line))
      .map((line) => `${path}: ${line}`),
  )
  expect(wrong).toEqual([])
})

test('a document types `npx zyqueue` only after it has installed @zyqueue/cli: that name is not ours on npm', () => {
  const wrong = documents().filter((document) => {
    const commands = read(document)
      .split('\n')
      .filter((line) => /^ *(?:npm install|npx) /.test(line))
    const installed = commands.findIndex((line) => line.includes('npm install') && line.includes('@zyqueue/cli'))
    const typed = commands.findIndex((line) => line.includes('npx zyqueue'))
    return typed >= 0 && (installed < 0 || installed > typed)
  })
  expect(wrong).toEqual([])
})

test('the table of CONTRIBUTING.md names folders and tests that exist', () => {
  const rows = read('CONTRIBUTING.md').matchAll(/^\| ([^|]+) \| (`pnpm [^|]+) \|$/gm)
  const tests = execFileSync('git', ['ls-files', '*.test.ts'], { cwd: root, encoding: 'utf8' })
  let count = 0
  for (const [, changed = '', commands = ''] of rows) {
    const folders = [...changed.matchAll(/`([^`<]+)`/g)].map(([, folder = '']) => folder)
    expect(folders.filter((folder) => !folder.endsWith('.json') && !existsSync(join(root, folder)))).toEqual([])
    const [, filters = ''] = /vitest run ([^`<]+)`/.exec(commands) ?? []
    expect(filters.split(' ').filter((filter) => !tests.includes(filter))).toEqual([])
    count += 1
  }
  expect(count).toBeGreaterThan(10)
})

describe.each(documents())('%s', (document) => {
  const text = read(document)

  test('links to files that exist', () => {
    const broken = relativeLinks(text).filter((target) => !existsSync(join(root, dirname(document), target)))
    expect(broken).toEqual([])
  })

  const blocks = checkedBlocks(text)
  if (blocks.length > 0 && isBrokerHere(document))
    test('has code that works', async () => {
      const folder = join(workshop, document.replaceAll('/', '-').replace(/\.md$/, ''))
      rmSync(folder, { recursive: true, force: true })
      mkdirSync(folder, { recursive: true })
      const named = blocks.map((block) => ({
        ...block,
        file: block.file ?? `line-${block.line}.${block.language}`,
      }))
      for (const { file, code } of named) writeFileSync(join(folder, file), code)
      writeFileSync(join(folder, 'tsconfig.json'), JSON.stringify(TSCONFIG))
      // A separate project for each document, so that no other one uses its default queue.
      writeFileSync(join(folder, 'package.json'), readFileSync(join(root, 'scripts', 'package.json')))
      symlinkSync(join(root, 'scripts', 'node_modules'), join(folder, 'node_modules'), 'dir')
      const typescript = named.some(({ language }) => language === 'ts')
      if (typescript) await succeeds(join(root, 'node_modules/.bin/tsc'), ['-p', folder], folder)
      for (const { file, language } of named.filter((block) => block.run))
        if (language === 'ts') await succeeds(process.execPath, [join('dist', basename(file, '.ts') + '.js')], folder)
        else await succeeds('bash', ['-euo', 'pipefail', file], folder)
      rmSync(folder, { recursive: true, force: true })
    })
})

/** Whether the document can be checked: the page of a broker needs that broker's package. */
function isBrokerHere(document: string): boolean {
  const [, broker] = /^docs\/brokers\/([a-z]+)\.md$/.exec(document) ?? []
  return broker === undefined || existsSync(join(root, 'packages', `broker-${broker}`))
}

const TSCONFIG = {
  extends: '../../../tsconfig.base.json',
  compilerOptions: {
    outDir: 'dist',
    rootDir: '.',
    composite: false,
    declaration: false,
    declarationMap: false,
    noUnusedLocals: false,
    noUnusedParameters: false,
  },
  include: ['*.ts'],
}

async function succeeds(file: string, args: readonly string[], cwd: string): Promise<void> {
  try {
    await run(file, args, { cwd, timeout: 600_000 })
  } catch (error) {
    const output = ['stdout', 'stderr'].map((name) => (error instanceof Error ? Reflect.get(error, name) : ''))
    expect.fail(`${[file, ...args].join(' ')}\n${output.join('')}`)
  }
}
