import { mkdir, mkdtemp, realpath, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { dirname, join } from 'node:path'
import { pathToFileURL } from 'node:url'
import { expect, onTestFinished, test } from 'vitest'
import { connectionTo } from '../../src/connection/connection.ts'
import { findBroker, installedBrokers, type BrokerChoice } from '../../src/connection/discovery.ts'
import { memoryBroker } from '../../src/testing/index.ts'

const plugin = (name: string, version = 2) =>
  `export default { kind: 'zyqueue.broker', apiVersion: ${version}, name: '${name}', schemes: ['${name}'], create() {} }`

/** Creates a folder with files. Without a `package.json`, adds one with the packages of `node_modules` as dependencies. */
async function project(files: Record<string, string>): Promise<string> {
  const dir = await realpath(await mkdtemp(join(tmpdir(), 'zyqueue-discovery-')))
  onTestFinished(() => rm(dir, { recursive: true, force: true }))
  const names = Object.keys(files).flatMap((path) => /^node_modules\/((?:@[^/]+\/)?[^/]+)/.exec(path)?.[1] ?? [])
  const dependencies = Object.fromEntries(names.map((name) => [name, '*']))
  for (const [path, text] of Object.entries({ 'package.json': JSON.stringify({ dependencies }), ...files })) {
    await mkdir(dirname(join(dir, path)), { recursive: true })
    await writeFile(join(dir, path), text)
  }
  return dir
}

function packaged(name: string, code: string, manifest: object = {}): Record<string, string> {
  const fields = { name, version: '1.2.3', type: 'module', exports: { '.': { default: './index.js' } }, ...manifest }
  return { [`node_modules/${name}/package.json`]: JSON.stringify(fields), [`node_modules/${name}/index.js`]: code }
}

async function nameOf(choice: BrokerChoice, ...from: string[]): Promise<string> {
  return (await findBroker(choice, from)).plugin.name
}

async function failure(choice: BrokerChoice, ...from: string[]): Promise<Error & { readonly code: string }> {
  const error: unknown = await findBroker(choice, from).catch((thrown: unknown) => thrown)
  if (error instanceof Error && 'code' in error) return Object.assign(error, { code: String(error.code) })
  return expect.fail(`no error: ${String(error)}`)
}

test('a plugin in code is used as it is', async () => {
  const memory = memoryBroker()
  expect(await findBroker({ server: memory, connection: 'redis://x' }, [])).toEqual({ plugin: memory })
})

test('a short name means a @zyqueue package, then a zyqueue-broker- package, then a package with this name', async () => {
  const ours = packaged('@zyqueue/broker-kafka', plugin('ours'))
  const others = packaged('zyqueue-broker-kafka', plugin('others'))
  const bare = packaged('kafka', plugin('bare'))
  expect(await nameOf({ server: 'kafka' }, await project({ ...bare, ...others, ...ours }))).toBe('ours')
  expect(await nameOf({ server: 'kafka' }, await project({ ...bare, ...others }))).toBe('others')
  expect(await nameOf({ server: 'kafka' }, await project(bare))).toBe('bare')
  expect(await nameOf({ server: 'zyqueue-broker-kafka' }, await project({ ...ours, ...others }))).toBe('others')
  const scoped = await project(packaged('@acme/queue', plugin('acme')))
  expect(await nameOf({ server: '@acme/queue' }, scoped)).toBe('acme')
})

test('a server cannot leave node_modules, and a scheme cannot be a property of every object', async () => {
  const dir = await project({ ...packaged('@acme/queue', plugin('acme')), 'evil/index.js': plugin('evil') })
  await mkdir(join(dir, 'node_modules/@x'), { recursive: true })
  for (const server of [
    '@x/../../evil',
    '@x/../../evil/index.js',
    'a/../../evil',
    '@acme//queue',
    '..',
    '@',
    ' redis',
  ]) {
    expect(await failure({ server }, dir)).toMatchObject({
      code: 'ZYQ_CONFIG',
      message: expect.stringContaining(server),
    })
  }
  expect(await failure({ server: 'file://host/x' }, dir)).toMatchObject({ code: 'ZYQ_BROKER_LOAD' })
  for (const scheme of ['constructor', 'toString', '__proto__', 'hasOwnProperty']) {
    expect(await failure({ connection: `${scheme}://x` }, dir)).toMatchObject({ code: 'ZYQ_CONNECTION_STRING' })
  }
})

test('the folders are searched in order', async () => {
  const first = await project(packaged('zyqueue-broker-a', plugin('first')))
  const second = await project({
    ...packaged('zyqueue-broker-a', plugin('second')),
    ...packaged('zyqueue-broker-b', plugin('b')),
    'near.js': plugin('near'),
  })
  expect(await nameOf({ server: 'a' }, first, second)).toBe('first')
  expect(await nameOf({ server: 'b' }, first, second)).toBe('b')
  expect(await nameOf({ server: './near.js' }, first, second)).toBe('near')
})

test('a path is relative to the folder, or absolute, or a URL', async () => {
  const dir = await project({ 'package.json': '{"type":"module"}', 'mine/broker.js': plugin('mine') })
  const path = join(dir, 'mine/broker.js')
  for (const server of ['./mine/broker.js', './mine/broker', path, pathToFileURL(path).href]) {
    expect(await nameOf({ server }, dir)).toBe('mine')
  }
  expect((await findBroker({ server: './mine/broker.js' }, [dir])).url).toBe(pathToFileURL(path).href)
  expect(await failure({ server: './none.js' }, dir)).toMatchObject({
    code: 'ZYQ_BROKER_NOT_FOUND',
    message: expect.stringContaining(dir),
  })
})

test('the error for a missing package names the folders and the command that installs it', async () => {
  // Not a ZyQueue broker: the NODE_PATH of pnpm would find it from every folder.
  const error = await failure({ server: 'nowhere' }, await project({}), '/elsewhere')
  expect(error).toMatchObject({ name: 'ConfigError', code: 'ZYQ_BROKER_NOT_FOUND' })
  expect(error.message).toMatch(/npm install @zyqueue\/broker-nowhere$/)
  expect(error.message).toContain(', /elsewhere')
})

test('the client library of an engine is not used as a broker', async () => {
  const dir = await project(packaged('gearman', 'export default class Client {}'))
  const found = await findBroker({ server: 'gearman' }, [dir]).catch((error: unknown) => error)
  expect(found).not.toMatchObject({ code: 'ZYQ_BROKER_EXPORTS' })
})

test('a broker for another version of the contract is refused', async () => {
  const dir = await project(packaged('zyqueue-broker-x', plugin('x', 1)))
  expect(await failure({ server: 'x' }, dir)).toMatchObject({
    code: 'ZYQ_BROKER_API_VERSION',
    message: expect.stringMatching(/version 1 .* version 2/),
  })
})

test('a package with a hidden entry, or without a broker, is refused', async () => {
  const hidden = packaged('zyqueue-broker-x', plugin('x'), { exports: { '.': { import: './index.js' } } })
  expect(await failure({ server: 'x' }, await project(hidden))).toMatchObject({
    code: 'ZYQ_BROKER_EXPORTS',
    message: expect.stringContaining('`default` condition'),
  })
  for (const code of ['export const x = 1', 'export default { kind: "other" }', 'export default null']) {
    const dir = await project(packaged('zyqueue-broker-x', code))
    expect(await failure({ server: 'x' }, dir)).toMatchObject({ code: 'ZYQ_BROKER_EXPORTS' })
  }
})

test('a package that throws, or whose entry is missing, is refused', async () => {
  const threw = await project(packaged('zyqueue-broker-x', 'throw new Error("no native module")'))
  expect(await failure({ server: 'x' }, threw)).toMatchObject({
    code: 'ZYQ_BROKER_LOAD',
    message: expect.stringContaining('no native module'),
    cause: { message: 'no native module' },
  })
  const needs = await project(packaged('zyqueue-broker-x', 'import "not-there"'))
  expect(await failure({ server: 'x' }, needs)).toMatchObject({ code: 'ZYQ_BROKER_LOAD' })
  const unbuilt = await project(packaged('zyqueue-broker-x', '', { exports: { '.': { default: './dist/index.js' } } }))
  expect(await failure({ server: 'x' }, unbuilt)).toMatchObject({ code: 'ZYQ_BROKER_LOAD' })
})

test('a compiled CommonJS package can be a broker', async () => {
  const code = plugin('cjs').replace('export default', 'exports.__esModule = true; exports.default =')
  const dir = await project(packaged('zyqueue-broker-x', code, { type: 'commonjs' }))
  expect(await nameOf({ server: 'x' }, dir)).toBe('cjs')
})

test('a scheme selects a ZyQueue broker, or the direct dependency that states it', async () => {
  const dir = await project({
    ...packaged('@zyqueue/broker-redis', plugin('redis')),
    ...packaged('@zyqueue/broker-sqlite', plugin('sqlite')),
    ...packaged('acme', plugin('acme'), { zyqueue: { type: 'broker', schemes: ['acme', 'acme+tls'] } }),
    ...packaged('just-a-library', 'throw new Error("never loaded")', { zyqueue: 'rubbish' }),
    'src/deep/readme.txt': '',
  })
  const deep = join(dir, 'src/deep')
  for (const [connection, name] of [
    ['redis://:secret@host:1/2', 'redis'],
    ['REDISS://host', 'redis'],
    ['sqlite:queue.db', 'sqlite'],
    ['sqlite:2024.db', 'sqlite'],
    ['sqlite::memory:', 'sqlite'],
    ['acme+tls://host', 'acme'],
    [undefined, 'sqlite'],
  ] as const) {
    expect(await nameOf({ connection }, deep)).toBe(name)
  }
})

test('a connection without a scheme that a broker reads is refused, and not shown', async () => {
  const dir = await project(packaged('@zyqueue/broker-sqlite', plugin('sqlite')))
  for (const connection of [
    'localhost:4730',
    'a:1,b:2',
    'gearman:4730',
    'unheard://:secret@x',
    'C:\\queue.db',
    'queue.db',
  ]) {
    const error = await failure({ connection }, dir)
    expect(error.code).toBe('ZYQ_CONNECTION_STRING')
    expect(error.message).not.toContain('secret')
  }
})

test('an empty server or connection is refused', async () => {
  const dir = await project(packaged('@zyqueue/broker-sqlite', plugin('sqlite')))
  expect(await failure({ server: '' }, dir)).toMatchObject({ code: 'ZYQ_CONFIG' })
  expect(await failure({ connection: '' }, dir)).toMatchObject({ code: 'ZYQ_CONFIG' })
  await expect(connectionTo({ baseDir: dir })).rejects.toMatchObject({ code: 'ZYQ_CONFIG' })
})

test('lists the broker packages that a project depends on, and the errors of packages that fail', async () => {
  const field = { zyqueue: { type: 'broker', schemes: ['x'] } }
  const dir = await project({
    ...packaged('good', plugin('good'), field),
    ...packaged('bad', 'throw new Error("no")', field),
    ...packaged('library', plugin('library')),
  })
  expect(await installedBrokers({ from: [dir, dir] })).toMatchObject([
    { packageName: 'good', name: 'good', version: '1.2.3', path: join(dir, 'node_modules/good/index.js') },
    { packageName: 'bad', version: '1.2.3', error: { code: 'ZYQ_BROKER_LOAD' } },
  ])
  expect(await installedBrokers({ from: [await project({ 'package.json': 'no JSON' })] })).toEqual([])
})
