/** Tests the published packages: packs the next release, checks the tarballs, and installs them into empty projects. */
import { execFile } from 'node:child_process'
import { existsSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { builtinModules } from 'node:module'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { promisify } from 'node:util'
import { afterAll, beforeAll, describe, expect, test, vi } from 'vitest'
import { quickStart, read } from '../markdown.js'
import { publicPackages } from '../packages.js'
import { serveRegistry, type Registry } from './registry.ts'
import { packRelease, REPOSITORY, type Packed } from './release.ts'
import { Stranger, type Kind } from './stranger.ts'

const KINDS: readonly Kind[] = [
  { manager: 'npm', modules: 'esm', language: 'TypeScript' },
  { manager: 'pnpm', modules: 'commonjs', language: 'TypeScript' },
  { manager: 'npm', modules: 'commonjs', language: 'JavaScript' },
  { manager: 'pnpm', modules: 'esm', language: 'JavaScript' },
]

const INSTALL_SCRIPTS = ['preinstall', 'install', 'postinstall']

/** Dependencies of the CLI that core resolves by a computed name. */
const FOUND_BY_CORE = ['@zyqueue/broker-sqlite']

let folder: string
let packages: readonly Packed[]
let registry: Registry

beforeAll(async () => {
  folder = mkdtempSync(join(tmpdir(), 'zyqueue-packages-'))
  packages = await packRelease(folder, strangersEnv())
  registry = await serveRegistry(packages)
  return () => registry[Symbol.asyncDispose]()
}, 1_800_000)

afterAll(() => rmSync(folder, { recursive: true, force: true, maxRetries: 3 }))

describe.each(publicPackages())('the package $name', ({ name, folder: home }) => {
  const packed = (): Packed => {
    const found = packages.find(({ manifest }) => manifest.name === name)
    if (found === undefined) throw new Error(`${name} was not packed`)
    return found
  }

  test('has a version, and the documents that npm shows', () => {
    expect(packed().manifest.version).toMatch(/^\d+\.[1-9]\d*\.0$/)
    expect(packed().files).toEqual(expect.arrayContaining(['README.md', 'CHANGELOG.md', 'LICENSE', 'package.json']))
  })

  test('has the URL of its repository, for its provenance', () => {
    const repository = { type: 'git', url: `git+${REPOSITORY}.git`, directory: `packages/${home}` }
    expect(packed().manifest['repository']).toEqual(repository)
  })

  test('contains code, types, maps and sources, and nothing else', () => {
    const { files } = packed()
    expect(files.filter((path) => !/^(?:dist|src)\//.test(path)).toSorted()).toEqual([
      'CHANGELOG.md',
      'LICENSE',
      'README.md',
      'package.json',
    ])
    const modules = files.filter((path) => path.startsWith('src/')).map((path) => path.slice(4).replace(/\.ts$/, ''))
    const expected = modules.flatMap((path) =>
      ['.js', '.js.map', '.d.ts', '.d.ts.map'].map((suffix) => `dist/${path}${suffix}`),
    )
    const compiled = files.filter((path) => /^dist\/.*\.(?:js|d\.ts)(?:\.map)?$/.test(path))
    expect(compiled.toSorted()).toEqual(expected.toSorted())
  })

  test('depends on the packages that it imports, and on no others', async () => {
    const { manifest, files, read: text } = packed()
    const code = await Promise.all(files.filter((path) => /^dist\/.*\.(?:js|d\.ts)$/.test(path)).map(text))
    const imported = new Set(code.flatMap(importedPackages).filter((used) => used !== name))
    const declared = dependenciesOf(manifest, ['dependencies', 'peerDependencies'])
    expect([...imported].filter((used) => !declared.includes(used))).toEqual([])
    const named = (used: string) => imported.has(used) || code.some((part) => part.includes(used))
    const idle = declared.filter((used) => !named(used) && !FOUND_BY_CORE.includes(used))
    expect(idle).toEqual([])
  })

  test('has no dependency that only this repository has', () => {
    const manifest = packed().manifest
    const ranges = JSON.stringify(['dependencies', 'peerDependencies'].map((field) => manifest[field]))
    expect(ranges).not.toMatch(/workspace:|catalog:|file:|link:/)
  })
})

test('no dependency has an install script', async () => {
  const project = join(folder, 'everything')
  mkdirSync(project)
  writeFileSync(join(project, '.npmrc'), `@zyqueue:registry=${registry.url}\nprefer-offline=true\n`)
  const dependencies = Object.fromEntries(packages.map(({ manifest }) => [manifest.name, manifest.version]))
  writeFileSync(join(project, 'package.json'), JSON.stringify({ name: 'everything', version: '1.0.0', dependencies }))
  // The whole tree, with the packages of other platforms. Nothing is downloaded.
  await promisify(execFile)('npm', ['install', '--package-lock-only'], { cwd: project, env: strangersEnv() })
  const lock: unknown = JSON.parse(readFileSync(join(project, 'package-lock.json'), 'utf8'))
  const tree = Object.entries(fieldOf(lock, 'packages'))
  expect(tree.length).toBeGreaterThan(packages.length)
  expect(tree.filter(([, entry]) => Object.hasOwn(Object(entry), 'hasInstallScript')).map(([path]) => path)).toEqual([])
})

describe.each(KINDS)('the quick start, with $manager, $modules and $language', (kind) => {
  test('works word for word as in README.md', async () => {
    const name = Object.values(kind).join('-')
    await using stranger = new Stranger(join(folder, name), kind, registry.url, strangersEnv())
    await stranger.follow(quickStart(read('README.md')))
    await vi.waitFor(
      () => {
        for (const greeted of ['Ada', 'Grace', 'Edsger', 'Barbara']) expect(stranger.log).toContain(`Hello, ${greeted}`)
      },
      { timeout: 600_000, interval: 50 },
    )
    await stranger.stop()
    expect(stranger.log).toContain('finishing the running jobs')
    expect(stranger.log).not.toMatch(/error/i)
    expect(installScripts(join(stranger.folder, 'node_modules'))).toEqual([])
  })
})

/** The environment of a shell that no package manager, test runner or developer of this repository has started. */
function strangersEnv(): NodeJS.ProcessEnv {
  const ours =
    /^(?:npm_(?:package|lifecycle|config_(?:prefix|local_prefix|verify))|pnpm_|PNPM_|VITEST|ZYQUEUE|NODE_(?:ENV|OPTIONS|PATH)|CI$|TEST$)/
  return Object.fromEntries(Object.entries(process.env).filter(([key]) => !ours.test(key)))
}

/** The packages that a compiled module or its types import. */
function importedPackages(code: string): readonly string[] {
  const statements = code.matchAll(/(?:\bfrom\s*|\bimport\s*\(?\s*|\brequire\(\s*)['"]([^'"\n]+)['"]/g)
  return [...statements]
    .map(([, specifier = '']) => specifier)
    .filter(
      (specifier) => /^[@a-z]/.test(specifier) && !specifier.startsWith('node:') && !builtinModules.includes(specifier),
    )
    .map((specifier) => specifier.split('/', specifier.startsWith('@') ? 2 : 1).join('/'))
}

function dependenciesOf(manifest: object, fields: readonly string[]): readonly string[] {
  return fields.flatMap((field) => Object.keys(fieldOf(manifest, field)))
}

function fieldOf(value: unknown, field: string): object {
  const found: unknown = typeof value === 'object' && value !== null ? Reflect.get(value, field) : undefined
  return typeof found === 'object' && found !== null ? found : {}
}

/** The installed packages, at any depth, that have an install script. */
function installScripts(modules: string): readonly string[] {
  const manifests = readdirSync(modules, { recursive: true, encoding: 'utf8' }).filter((path) =>
    /(?:^|node_modules\/)(?:@[^/]+\/)?[^/]+\/package\.json$/.test(path),
  )
  expect(manifests.length).toBeGreaterThan(5)
  return manifests.filter((path) => {
    const scripts = fieldOf(JSON.parse(readFileSync(join(modules, path), 'utf8')), 'scripts')
    const isCompiled = existsSync(join(modules, path, '../binding.gyp'))
    return isCompiled || INSTALL_SCRIPTS.some((script) => Object.hasOwn(scripts, script))
  })
}
