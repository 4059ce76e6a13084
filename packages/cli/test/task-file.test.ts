import { existsSync } from 'node:fs'
import { join } from 'node:path'
import { describe, expect, test } from 'vitest'
import { makeProject, NODES, run, type Ended, type Project } from './project.ts'

const taskFiles = new URL('../dist/task-file/index.js', import.meta.url).href

/** Compiles in one process, which alone has the compiler, and imports in another, as the supervisor and its workers do. */
async function load(project: Project, name: string, node: string): Promise<Ended> {
  const opened = await openInProcess(project, name)
  if (opened.code !== 0) return opened
  const importing = `
    const { path, loader } = JSON.parse(process.argv[1])
    if (loader) await (await import(loader.module)).register(loader.data)
    await import(path)`
  return run(['--input-type=module', '-e', importing, opened.stdout], { cwd: project.dir, node })
}

async function openInProcess(project: Project, name: string, ...more: string[]): Promise<Ended> {
  const opening = `
    const { openTaskFile } = await import(${JSON.stringify(taskFiles)})
    const inputs = { files: new Set(), missing: new Set() }
    try {
      const opened = await openTaskFile(process.argv[1], process.argv[2] && inputs)
      const document = { ...opened, inputs: [...inputs.files], missing: [...inputs.missing] }
      process.stdout.write(JSON.stringify(document), () => process.exit())
    } catch (error) {
      process.stderr.write(error.code + ' ' + error.message, () => process.exit(1))
    }`
  return run(['--input-type=module', '-e', opening, project.path(name), ...more], { cwd: project.dir })
}

const LIB: Readonly<Record<string, string>> = {
  'tsconfig.json': '{ "compilerOptions": { "target": "ES2022", "paths": { "@lib/*": ["./src/lib/*"] } } }',
  'src/lib/color.ts': `export enum Color { Red = 'red' }
export interface Paint { readonly color: Color }

export function fail(what: string): never {
  throw new Error('no ' + what)
}`,
  'src/lib/suffixed.ts': `import { Color } from './color'
export const suffixed: string = 'suffixed ' + Color.Red
export const loads: { n: number } = ((globalThis as any).loads ??= { n: 0 })
loads.n++`,
  'src/lib/first.ts': `(globalThis as any).first = 'first'\nexport {}`,
  'src/lib/aliased.ts': 'export const aliased: string = __filename',
  'src/data.json': '{ "nested": { "n": 2 } }',
  'src/plain.mjs': `export const plain = 'plain'`,
  'src/legacy.cjs': `exports.legacy = require('node:path').basename(__filename)`,
  'src/common.cts': `import path = require('node:path')
import type { Paint } from './lib/color'
export const folder: string = path.basename(__dirname)
export const paint = (): Paint | undefined => undefined`,
  'packages/shared/package.json': '{ "name": "@acme/shared", "type": "module", "exports": "./src/index.ts" }',
  'packages/shared/src/index.ts': `import { seenFirst } from './order.ts'
import { commonNames } from '@acme/common'
export { Size } from './size.ts'
export const sharedUrl: string = import.meta.url
export const seen: readonly unknown[] = [seenFirst, ...commonNames]`,
  'packages/shared/src/size.ts': 'export enum Size { Small, Large }',
  'packages/shared/src/order.ts': 'export const seenFirst: unknown = (globalThis as any).first',
  'packages/common/package.json': '{ "name": "@acme/common", "type": "commonjs", "exports": "./index.ts" }',
  'packages/common/index.ts': `import { deep } from '@acme/deep'
import { common } from './common'
export const commonNames: string[] = [common, deep]`,
  'packages/common/common.ts': 'export const common: string = __filename',
  'packages/deep/package.json': '{ "name": "@acme/deep", "type": "module", "exports": "./index.ts" }',
  'packages/deep/index.ts': `export { deep } from './deep.ts'`,
  'packages/deep/deep.ts': 'export const deep: string = import.meta.url',
  'node_modules/cjs-library/package.json': '{ "name": "cjs-library", "main": "index.js" }',
  // Exports that Node's lexer cannot find, as in lodash.
  'node_modules/cjs-library/index.js': `const all = {}; for (const name of ['group']) all[name] = () => name; module.exports = all`,
}

const TASKS = `import './lib/first'
import { ConfigError } from '@zyqueue/core'
import type { Paint } from './lib/color'
import { Color, fail } from './lib/color'
import { suffixed, loads } from './lib/suffixed.js'
import { aliased } from '@lib/aliased'
import { Size, seen, sharedUrl } from '@acme/shared'
import data from './data.json'
import { plain } from './plain.mjs'
import { legacy } from './legacy.cjs'
import { folder } from './common.cjs'

const decorated: string[] = []
function decorate(_method: unknown, context: { name: string | symbol }): void {
  decorated.push(String(context.name))
}
enum Local { A = 1, B }

export class Images {
  static readonly label: string = 'images'
  constructor(readonly size: number) {}
  @decorate async resize(): Promise<string> { return Images.label + this.size }
}
const made = (handler: () => void) => handler
export const hash = made(function hash() {
  fail('hash')
})

async function look(): Promise<Record<string, unknown>> {
  const lazy = await import('./lib/suffixed')
  const copy = await import('@zyqueue/core')
  let stack = ''
  try { hash() } catch (error) { stack = (error as Error).stack ?? '' }
  return {
    color: Color.Red, suffixed, aliased, size: Size.Large, sharedUrl, seen, node: process.versions.node, data: data.nested.n, plain, legacy, folder,
    local: Local.B, decorated, resized: await new Images(3).resize(), names: [hash.name, Images.name],
    __dirname, required: typeof require('./data.json'), loads: [loads.n, lazy.loads.n],
    oneCore: copy.ConfigError === ConfigError, stack: stack.split('\\n').slice(0, 3),
  }
}
look().then((seen) => console.log(JSON.stringify({ ...seen, ...extra })))
`

describe.each(NODES)('%s', (node) => {
  describe.each(['module', 'commonjs', undefined])('in a package of type %s', (type) => {
    test('a TypeScript task file may use all of TypeScript', async () => {
      const extra =
        type === 'module'
          ? 'const extra = { url: import.meta.url, top: await Promise.resolve(1) }'
          : `import { group } from 'cjs-library'\nimport os = require('node:os')\nconst extra = { group: group(), os: typeof os.EOL }`
      const project = await makeProject({
        manifest: type === undefined ? {} : { type },
        files: { ...LIB, 'src/tasks.ts': `${TASKS}${extra}\n` },
        link: Object.fromEntries(
          ['shared', 'common', 'deep'].map((name) => [`@acme/${name}`, `../../packages/${name}`]),
        ),
      })

      const { stdout, stderr } = await load(project, 'src/tasks.ts', node)

      expect(stderr).toBe('')
      const src = project.path('src')
      const { node: version, ...imported }: { node: string } = JSON.parse(stdout)
      // These versions run ES modules that CommonJS requires before the other imports.
      const runsEarly = type !== 'module' && /^(?:20\.19\.[0-4]|22\.1[2-4]\.\d+)$/.test(version)
      expect(imported).toEqual({
        color: 'red',
        suffixed: 'suffixed red',
        aliased: join(src, 'lib/aliased.ts'),
        size: 1,
        seen: [
          runsEarly ? null : 'first',
          project.path('packages/common/common.ts'),
          `file://${project.path('packages/deep/deep.ts')}`,
        ],
        sharedUrl: `file://${project.path('packages/shared/src/index.ts')}`,
        data: 2,
        plain: 'plain',
        legacy: 'legacy.cjs',
        folder: 'src',
        local: 2,
        decorated: ['resize'],
        resized: 'images3',
        names: ['hash', 'Images'],
        __dirname: src,
        required: 'object',
        loads: [1, 1],
        oneCore: true,
        stack: [
          'Error: no hash',
          `    at fail (${join(src, 'lib/color.ts')}:5:9)`,
          expect.stringContaining(`${join(src, 'tasks.ts')}:26:3)`),
        ],
        ...(type === 'module' ? { url: `file://${join(src, 'tasks.ts')}`, top: 1 } : { group: 'group', os: 'string' }),
      })
    })
  })

  test('without a "type", a project that uses import.meta or top-level await is compiled to modules', async () => {
    const project = await makeProject({
      files: {
        'tasks.ts': `import { createRequire } from 'node:module'
import { dirname } from 'node:path'
import { fileURLToPath } from 'node:url'
import { one } from './one'
const require = createRequire(import.meta.url)
const __dirname = dirname(fileURLToPath(import.meta.url))
console.log(JSON.stringify([await one, __dirname, require.resolve('./one.ts'), __filename]))`,
        'one.ts': 'export const one: Promise<number> = Promise.resolve(1)',
      },
    })
    const { stdout, stderr } = await load(project, 'tasks.ts', node)
    expect(stderr).toBe('')
    expect(JSON.parse(stdout)).toEqual([1, project.dir, project.path('one.ts'), project.path('tasks.ts')])
  })

  test('export =, require and module work as in CommonJS', async () => {
    const project = await makeProject({
      manifest: { type: 'commonjs' },
      files: {
        'tasks.ts': `import fs = require('node:fs')
const one = require('./one') as { one: number }
import('./one').then((again) => console.log(JSON.stringify([one.one === again.one, fs.existsSync(__filename), module.id])))
export = { one }`,
        'one.ts': 'export const one: number = Math.random()',
      },
    })
    const { stdout, stderr } = await load(project, 'tasks.ts', node)
    expect(stderr).toBe('')
    expect(JSON.parse(stdout)).toEqual([true, true, project.path('tasks.ts')])
  })

  test.each(['js', 'mjs', 'cjs'])('Node loads a .%s task file itself', async (extension) => {
    const project = await makeProject({
      manifest: { type: extension === 'js' ? 'module' : 'commonjs' },
      files: { [`tasks.${extension}`]: `console.log(${JSON.stringify(extension)})` },
    })
    const { stdout, stderr } = await load(project, `tasks.${extension}`, node)
    expect({ stdout, stderr }).toEqual({ stdout: `${extension}\n`, stderr: '' })
  })
})

test('a project without esbuild uses esbuild-wasm', async () => {
  const project = await makeProject({
    manifest: { type: 'module' },
    files: { 'tasks.ts': 'enum Color { Red }\nconsole.log(Color.Red)' },
    link: { esbuild: false },
  })
  expect(await load(project, 'tasks.ts', process.execPath)).toEqual({ code: 0, stdout: '0\n', stderr: '' })
})

test('the inputs are the project files that the task file imports, not files of packages', async () => {
  const project = await makeProject({
    manifest: { type: 'module' },
    files: {
      'tasks.ts': `import './a'; import data from './data.json'; import '@zyqueue/core'; console.log(data)`,
      'a.ts': `import type { B } from './b'; import './c.js'; export const b: B = 1`,
      'b.ts': 'export type B = number',
      'c.js': `import './d.ts'; import '../gone/e.js'; import 'none'`,
      'd.ts': 'const x: number = 1; console.log(x)',
      'data.json': '{}',
      'unrelated.ts': '',
    },
  })
  const { stdout } = await openInProcess(project, 'tasks.ts', 'with inputs')
  const { inputs, missing, loader }: { inputs: string[]; missing: string[]; loader: { data: { files: object } } } =
    JSON.parse(stdout)
  const names = ['tasks.ts', 'a.ts', 'c.js', 'd.ts', 'data.json']
  expect(inputs.toSorted()).toEqual(names.map((name) => project.path(name)).toSorted())
  expect(missing).toEqual([join(project.dir, '../gone/e.js')])
  expect(Object.keys(loader.data.files)).toHaveLength(3)
  expect(existsSync(project.path('unrelated.ts'))).toBe(true)
})

test('a syntax error is reported with its line', async () => {
  const project = await makeProject({ files: { 'tasks.ts': 'export const one = 1\nexport const = 2\n' } })
  const { code, stderr } = await openInProcess(project, 'tasks.ts')
  expect(code).toBe(1)
  expect(stderr).toMatch(/^ZYQ_TASK_FILE .*does not compile/)
  expect(stderr).toContain('tasks.ts:2:13')
  expect(stderr).toContain('2 │ export const = 2')
})

test('decorator metadata, which only tsc can emit, is refused if the file has decorators', async () => {
  const project = await makeProject({
    files: {
      'tsconfig.json': '{ "extends": "./tsconfig.base" }',
      'tsconfig.base.json': `{
        // As NestJS has it: "//" in a string is no comment.
        "compilerOptions": { "experimentalDecorators": true, "emitDecoratorMetadata": true, "baseUrl": ".//", },
      }`,
      'plain.ts': 'console.log(1)',
      'tasks.ts': 'const d = (_: unknown): void => {}\n@d export class Images {}',
    },
  })
  expect(await openInProcess(project, 'plain.ts')).toMatchObject({ code: 0 })
  const { code, stderr } = await openInProcess(project, 'tasks.ts')
  expect(code).toBe(1)
  expect(stderr).toContain('ZYQ_TASK_FILE')
  expect(stderr).toContain(`${project.path('tasks.ts')} has decorators`)
  expect(stderr).toContain('`emitDecoratorMetadata`')
})

test.each(['./app/', './app/tsconfig.json'])('`paths` of the reference %s are refused', async (reference) => {
  const project = await makeProject({
    files: {
      'tsconfig.json': JSON.stringify({ files: [], references: [{ path: reference }] }),
      'app/tsconfig.json': '{ "compilerOptions": { "paths": { "@lib/*": ["../lib/*"] } } }',
      'lib/color.ts': 'export const color: string = "red"',
      'tasks.ts': `import { color } from '@lib/color'\nconsole.log(color)`,
      'other.ts': `import('none').catch(() => console.log('no package'))`,
    },
  })
  expect(await openInProcess(project, 'other.ts')).toMatchObject({ code: 0 })
  const { code, stderr } = await openInProcess(project, 'tasks.ts')
  expect(code).toBe(1)
  expect(stderr).toContain(`ZYQ_TASK_FILE Cannot find "@lib/color", which ${project.path('tasks.ts')} imports`)
  expect(stderr).toContain(`\`paths\` of ${project.path('app/tsconfig.json')} do not apply`)
})
