import { readdirSync, readFileSync } from 'node:fs'
import { dirname, join, normalize } from 'node:path'
import { expect, test } from 'vitest'

/** The folders and files of `src`, from the bottom to the top. A file may import from its own layer and from lower ones. */
const LAYERS: readonly (readonly string[])[] = [
  [
    'error-codes.ts',
    'errors.ts',
    'error-fields.ts',
    'limits.ts',
    'suggest.ts',
    'internals.ts',
    'option-names.ts',
    'plain.ts',
    'property.ts',
    'parse-options.ts',
    'host-clock.ts',
    'keep-alive.ts',
    'logger.ts',
    'logging',
    'diagnostics.ts',
  ],
  ['contract'],
  ['adapter'],
  ['connection'],
  ['messages'],
  ['hooks'],
  ['middleware'],
  ['producer'],
  ['tasks'],
  ['worker'],
  ['supervisor'],
  ['testing'],
  ['index.ts'],
]

/** `contract/index.ts` is an entry of the package: it publishes the contract together with the adapter base. */
const ENTRY = 'contract/index.ts'

const folder = join(import.meta.dirname, '..', 'src')
const files = readdirSync(folder, { recursive: true, encoding: 'utf8' }).filter((path) => path.endsWith('.ts'))
/** Imports that exist at run time. Imports of types alone leave no dependency in the built code. */
const imports = new Map(files.map((file) => [file, importsOf(file)]))

test('each file belongs to a layer', () => {
  expect(files.filter((file) => layerOf(file) < 0)).toEqual([])
})

test('imports run downhill', () => {
  const uphill = [...imports].flatMap(([file, targets]) =>
    targets
      .filter((target) => file !== ENTRY && layerOf(target) > layerOf(file))
      .map((target) => `${file} imports ${target}`),
  )
  expect(uphill.toSorted()).toEqual([])
})

test('imports have no cycles', () => {
  expect(files.filter((file) => reaches(file).has(file))).toEqual([])
})

function layerOf(file: string): number {
  const [top = ''] = file.split('/')
  return LAYERS.findIndex((layer) => layer.includes(top))
}

function importsOf(file: string): string[] {
  const text = readFileSync(join(folder, file), 'utf8')
  return [...text.matchAll(/^(?:import|export)\s+(?!type\s)(?:[\w\s{},*$]*?\sfrom\s+)?['"](\.[^'"]*)['"]/gm)].map(
    ({ 1: target = '' }) => normalize(join(dirname(file), target)),
  )
}

function reaches(start: string): Set<string> {
  const reached = new Set<string>()
  const open = [...(imports.get(start) ?? [])]
  for (let file = open.pop(); file !== undefined; file = open.pop()) {
    if (reached.has(file)) continue
    reached.add(file)
    open.push(...(imports.get(file) ?? []))
  }
  return reached
}
