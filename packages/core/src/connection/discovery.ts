import { createRequire } from 'node:module'
import { existsSync } from 'node:fs'
import { readFile } from 'node:fs/promises'
import { dirname, isAbsolute, join } from 'node:path'
import { fileURLToPath, pathToFileURL } from 'node:url'
import { z } from 'zod'
import { ConfigError, messageOf } from '../errors.ts'
import type { BrokerPlugin } from '../contract/index.ts'
import { checkInherited } from './inherit.ts'
import { schemeOf } from './scheme.ts'

/** The broker if neither `server` nor `connection` is given. */
const EMBEDDED = 'sqlite'

/** ZyQueue's brokers by the schemes of connection strings. Other packages state their schemes in their package.json. */
const OWN_SCHEMES: Readonly<Record<string, string>> = {
  sqlite: 'sqlite',
  redis: 'redis',
  rediss: 'redis',
  'redis+sentinel': 'redis',
  'redis+cluster': 'redis',
  amqp: 'rabbitmq',
  amqps: 'rabbitmq',
  gearman: 'gearman',
}

/** The server whose tasks submit a list as a batch without `batch: true`, as in the Python original. */
export const LIST_SERVER = 'gearman'

const pluginSchema = z.object({
  kind: z.literal('zyqueue.broker'),
  apiVersion: z.number(),
  name: z.string(),
  schemes: z.array(z.string()),
  create: z.function(),
})

const brokerFieldSchema = z.object({
  type: z.literal('broker'),
  schemes: z.array(z.string()).default([]),
})

const packageSchema = z.object({
  name: z.string().optional(),
  version: z.string().optional(),
  dependencies: z.record(z.string(), z.string()).default({}),
  devDependencies: z.record(z.string(), z.string()).default({}),
  optionalDependencies: z.record(z.string(), z.string()).default({}),
  zyqueue: z.unknown().optional(),
})

export interface BrokerChoice {
  /** A short name (`redis`), a package name, a path, or a plugin in code. */
  readonly server?: string | BrokerPlugin | undefined
  readonly connection?: string | undefined
  /** The source of the connection if it was not given together with the server. The two may contradict each other. */
  readonly connectionFrom?: string | undefined
}

export interface FoundBroker {
  readonly plugin: BrokerPlugin
  /** The URL of its module. Absent for a plugin given in code. */
  readonly url?: string
}

/**
 * Finds the broker for a server and connection and loads its package. Searches from each folder or file of `from`, in this
 * order. Never falls back to another broker.
 *
 * Rejects with `ConfigError`: `ZYQ_BROKER_NOT_FOUND`, `ZYQ_BROKER_EXPORTS`, `ZYQ_BROKER_LOAD`, `ZYQ_BROKER_API_VERSION`,
 * `ZYQ_CONNECTION_STRING` if no broker reads the connection's scheme, or `ZYQ_CONFIG` if the choice contradicts itself.
 */
export async function findBroker(choice: BrokerChoice, from: readonly string[]): Promise<FoundBroker> {
  const found = await findPlugin(choice, from)
  checkInherited(choice, found.plugin)
  return found
}

async function findPlugin(choice: BrokerChoice, from: readonly string[]): Promise<FoundBroker> {
  const { server, connection } = choice
  if (typeof server === 'object') return { plugin: checkPlugin(server, 'The broker given in code') }
  if (server === '' || (server === undefined && connection === '')) {
    throw new ConfigError(
      'ZYQ_CONFIG',
      `The ${server === '' ? 'server' : 'connection'} is empty. Omit it, or give a value.`,
    )
  }
  const candidates = await candidatesFor(server, connection, from)
  for (const candidate of candidates) {
    const path = resolveFrom(candidate, from)
    if (path !== undefined) return load(candidate, path)
  }
  const wanted = candidates[0] ?? ''
  throw new ConfigError(
    'ZYQ_BROKER_NOT_FOUND',
    `The broker ${JSON.stringify(server ?? schemeOf(connection) ?? EMBEDDED)} is not installed: searched for ` +
      `${candidates.join(', ')} from ${from.join(', ')}. Install it: npm install ${isPath(wanted) ? '<its package>' : wanted}`,
  )
}

/** The packages, or the path, that may contain the broker, the most likely first. */
async function candidatesFor(
  server: string | undefined,
  connection: string | undefined,
  from: readonly string[],
): Promise<readonly string[]> {
  if (server !== undefined) {
    if (isPath(server)) return [server]
    if (!isPackageName(server)) {
      throw new ConfigError(
        'ZYQ_CONFIG',
        `The server ${JSON.stringify(server)} is not the name of a broker or package, and a path begins with ./, ../ or /.`,
      )
    }
    if (server.startsWith('@') || server.startsWith('zyqueue-broker-')) return [server]
    const prefixed = [`@zyqueue/broker-${server}`, `zyqueue-broker-${server}`]
    // A package with the plain name of an engine is a client library, not a broker.
    return Object.values(OWN_SCHEMES).includes(server) ? prefixed : [...prefixed, server]
  }
  if (connection === undefined) return [`@zyqueue/broker-${EMBEDDED}`]
  const scheme = schemeOf(connection)
  const own = scheme !== undefined && Object.hasOwn(OWN_SCHEMES, scheme) ? OWN_SCHEMES[scheme] : undefined
  if (own !== undefined) return [`@zyqueue/broker-${own}`]
  if (scheme !== undefined) {
    for (const broker of await installedBrokerPackages(from)) {
      if (broker.schemes.includes(scheme)) return [broker.packageName]
    }
  }
  throw new ConfigError(
    'ZYQ_CONNECTION_STRING',
    scheme === undefined
      ? 'The connection has no scheme of a broker (redis://, amqp://, gearman://, sqlite:). Name the broker with `server`.'
      : `No installed broker reads connections that begin with ${scheme}: — searched the dependencies of the package.json ` +
          `nearest to ${from.join(', ')}. Install the broker’s package, or name it with \`server\`.`,
  )
}

function isPath(server: string): boolean {
  return server.startsWith('./') || server.startsWith('../') || server.startsWith('file:') || isAbsolute(server)
}

/** True if no part of the name leaves `node_modules`, as in `@x/../../evil`. */
function isPackageName(server: string): boolean {
  return server.split('/').every((part) => /^@?[\w~-][\w.~-]*$/.test(part))
}

function resolveFrom(candidate: string, from: readonly string[]): string | undefined {
  const wanted = candidate.startsWith('file:') ? pathOf(candidate) : candidate
  for (const base of from) {
    try {
      return createRequire(join(base, 'noop.js')).resolve(wanted)
    } catch (error) {
      const code = error instanceof Error && 'code' in error ? error.code : undefined
      if (code === 'ERR_PACKAGE_PATH_NOT_EXPORTED') {
        throw new ConfigError(
          'ZYQ_BROKER_EXPORTS',
          `The package ${candidate} (from ${base}) does not export its entry: its \`exports\` map has no \`default\` condition for ".".`,
          { cause: error },
        )
      }
      const isInstalled = !isPath(wanted) && packageFolder(wanted, base) !== undefined
      if (code !== 'MODULE_NOT_FOUND' || isInstalled) throw loadError(candidate, error)
    }
  }
  return undefined
}

function pathOf(url: string): string {
  try {
    return fileURLToPath(url)
  } catch (error) {
    throw loadError(url, error)
  }
}

async function load(candidate: string, path: string): Promise<FoundBroker> {
  const url = pathToFileURL(path).href
  let module: unknown
  try {
    module = await import(url)
  } catch (error) {
    throw loadError(candidate, error)
  }
  const exported = defaultOf(module)
  // `import` of a compiled CommonJS module returns an object that contains the default export.
  const plugin = isPlugin(exported) ? exported : (defaultOf(exported) ?? exported)
  return { plugin: checkPlugin(plugin, `The package ${candidate}`), url }
}

function defaultOf(module: unknown): unknown {
  return typeof module === 'object' && module !== null && 'default' in module ? module.default : undefined
}

function loadError(candidate: string, error: unknown): ConfigError {
  return new ConfigError('ZYQ_BROKER_LOAD', `The broker ${candidate} threw while it was loaded: ${messageOf(error)}`, {
    cause: error,
  })
}

const API_VERSION: BrokerPlugin['apiVersion'] = 2

function checkPlugin(value: unknown, what: string): BrokerPlugin {
  if (!isPlugin(value)) {
    throw new ConfigError('ZYQ_BROKER_EXPORTS', `${what} does not export a ZyQueue broker as its default export.`)
  }
  const version: number = value.apiVersion
  if (version !== API_VERSION) {
    throw new ConfigError(
      'ZYQ_BROKER_API_VERSION',
      `${what} implements version ${version} of the broker contract, and this @zyqueue/core needs version ${API_VERSION}. Install versions that match.`,
    )
  }
  return value
}

function isPlugin(value: unknown): value is BrokerPlugin {
  return pluginSchema.safeParse(value).success
}

interface BrokerPackage {
  readonly packageName: string
  readonly schemes: readonly string[]
  readonly version?: string | undefined
}

export interface InstalledBroker extends BrokerPackage {
  /** The short name. Absent if the package could not be loaded. */
  readonly name?: string
  /** The file from which it is loaded. */
  readonly path?: string
  /** Absent if the package is not installed or could not be loaded. */
  readonly plugin?: BrokerPlugin
  readonly error?: ConfigError
}

/** Loads the broker packages among the direct dependencies of the package.json nearest to each of `from`. */
export async function installedBrokers(options: {
  readonly from: readonly string[]
}): Promise<readonly InstalledBroker[]> {
  const packages = new Map<string, BrokerPackage>()
  for (const found of await installedBrokerPackages(options.from)) {
    if (!packages.has(found.packageName)) packages.set(found.packageName, found)
  }
  return Promise.all(
    [...packages.values()].map(async (found) => {
      try {
        const path = resolveFrom(found.packageName, options.from)
        if (path === undefined) return found
        const { plugin } = await load(found.packageName, path)
        return { ...found, name: plugin.name, schemes: plugin.schemes, path, plugin }
      } catch (error) {
        if (error instanceof ConfigError) return { ...found, error }
        throw error
      }
    }),
  )
}

async function installedBrokerPackages(from: readonly string[]): Promise<readonly BrokerPackage[]> {
  const found: BrokerPackage[] = []
  for (const base of from) {
    const manifest = await nearestManifest(base)
    if (manifest === undefined) continue
    const { dependencies, devDependencies, optionalDependencies } = manifest.data
    for (const name of Object.keys({ ...dependencies, ...devDependencies, ...optionalDependencies })) {
      const broker = await brokerPackage(name, manifest.dir)
      if (broker !== undefined) found.push(broker)
    }
  }
  return found
}

async function brokerPackage(name: string, dir: string): Promise<BrokerPackage | undefined> {
  const folder = packageFolder(name, dir)
  const manifest = folder === undefined ? undefined : await readManifest(join(folder, 'package.json'))
  const field = brokerFieldSchema.safeParse(manifest?.zyqueue)
  return field.success ? { packageName: name, schemes: field.data.schemes, version: manifest?.version } : undefined
}

/** The folder of an installed package. `resolve` is not used, because an `exports` map may hide package.json from it. */
function packageFolder(name: string, from: string): string | undefined {
  for (let folder = from; ; folder = dirname(folder)) {
    const found = join(folder, 'node_modules', name)
    if (existsSync(join(found, 'package.json'))) return found
    if (dirname(folder) === folder) return undefined
  }
}

async function nearestManifest(base: string) {
  for (let dir = base; ; dir = dirname(dir)) {
    const data = await readManifest(join(dir, 'package.json'))
    if (data !== undefined) return { dir, data }
    if (dirname(dir) === dir) return undefined
  }
}

async function readManifest(path: string) {
  try {
    const parsed = packageSchema.safeParse(JSON.parse(await readFile(path, 'utf8')))
    return parsed.success ? parsed.data : undefined
  } catch {
    // The file is absent or not JSON. npm reports that at the installation.
    return undefined
  }
}
