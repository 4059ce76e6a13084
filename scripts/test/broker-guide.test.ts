import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { expect, test } from 'vitest'
import { proseOf, read } from '../markdown.js'
import { root } from '../packages.js'

const MAX_WORDS = 3_600

/** Whitespace-separated words, as `wc -w` counts them. */
function words(text: string): number {
  return text.match(/\S+/g)?.length ?? 0
}

test('the contract, the base classes and the guide that the author of a broker reads are short', () => {
  const core = join(root, 'packages/core')
  const index = readFileSync(join(core, 'src/contract/index.ts'), 'utf8')
  const filesIn = (folder: string): readonly string[] =>
    [...index.matchAll(new RegExp(`from '${folder}/([\\w-]+)\\.ts'`, 'g'))].map(([, name = '']) => name)
  const contract = ['index', ...filesIn('\\.')].map((name) => join(core, `src/contract/${name}.ts`))
  const base = filesIn('\\.\\./adapter').map((name) => join(core, `dist/adapter/${name}.d.ts`))
  expect(contract.length).toBeGreaterThan(5)
  expect(base.length).toBeGreaterThan(5)

  const declarations = [...contract, ...base].map((file) => words(readFileSync(file, 'utf8')))
  const guide = words(proseOf(read('docs/write-a-broker.md')))
  expect(declarations.reduce((sum, count) => sum + count, guide)).toBeLessThanOrEqual(MAX_WORDS)
})
