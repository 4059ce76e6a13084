import { execFile } from 'node:child_process'
import { join } from 'node:path'
import { expect, test } from 'vitest'

const root = join(import.meta.dirname, '../../../..')
const OPTIONS = ['--noEmit', '--ignoreConfig', '--strict', '--module', 'nodenext', '--target', 'es2024']
const FILES = ['--types', 'node', '--skipLibCheck', '--allowImportingTsExtensions']

/** Compiles a file. Resolves to the errors by line, without their paths. */
async function errorsOf(file: string): Promise<Readonly<Record<string, string>>> {
  const words = [join(root, 'node_modules/typescript/bin/tsc'), ...OPTIONS, ...FILES, file]
  const output = await new Promise<string>((resolve) => {
    execFile(process.execPath, words, { cwd: join(root, 'packages/core') }, (_error, stdout) => resolve(stdout))
  })
  const errors = output.split(/^(?=\S)/m).map((text) => /\((\d+),\d+\): error \w+: ([^]*)$/.exec(text))
  return Object.fromEntries(errors.map((found) => [found?.[1] ?? '', found?.[2] ?? '']))
}

test('the compiler says what is wrong with the data, not that no overload matches', async () => {
  const errors = await errorsOf('test/fixtures/wrong-payloads.ts')
  const isNot = "Type 'string' is not assignable to type 'number'"
  expect(errors).toEqual({
    5: expect.stringContaining(isNot),
    6: expect.stringMatching(/^.*'id' is missing/),
    7: expect.stringMatching(/^Type 'Date' is not assignable to type '"Jobs are JSON, which has no Date"'/),
    8: expect.stringContaining(isNot),
  })
  expect(Object.values(errors).filter((text) => text.includes('overload'))).toEqual([])
})
