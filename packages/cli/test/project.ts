import { execFile, type ChildProcess } from 'node:child_process'
import { mkdir, mkdtemp, realpath, rm, symlink, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { dirname, join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { onTestFinished } from 'vitest'

export const packages: string = fileURLToPath(new URL('../../', import.meta.url))
export const bin: string = join(packages, 'cli', 'dist', 'bin.js')
const PACKAGES: Readonly<Record<string, string>> = {
  '@zyqueue/core': join(packages, 'core'),
  '@zyqueue/broker-sqlite': join(packages, 'broker-sqlite'),
  esbuild: dirname(dirname(fileURLToPath(import.meta.resolve('esbuild')))),
}

/** The tests of the loader run on this Node and on the colon-separated ones of `ZYQUEUE_TEST_NODES`. */
export const NODES: readonly string[] = [
  process.execPath,
  ...(process.env['ZYQUEUE_TEST_NODES'] ?? '').split(':').filter((path) => path !== ''),
]

export interface Project {
  readonly dir: string
  path(name: string): string
}

/** A user's project in a temporary folder, deleted after the test. This repository's packages are linked in as pnpm does it. */
export async function makeProject(options: {
  readonly manifest?: object
  readonly files: Readonly<Record<string, string>>
  /** More links in `node_modules`, by name. `false` leaves out a default one: core, SQLite, esbuild. */
  readonly link?: Readonly<Record<string, string | false>>
}): Promise<Project> {
  const dir = await realpath(await mkdtemp(join(tmpdir(), 'zyqueue-cli-')))
  onTestFinished(() => rm(dir, { recursive: true, force: true, maxRetries: 3 }))
  const path = (name: string): string => join(dir, name)
  const manifest = { name: 'a-project', dependencies: { '@zyqueue/core': '*' }, ...options.manifest }
  const files = { 'package.json': JSON.stringify(manifest), ...options.files }
  for (const [name, text] of Object.entries(files)) {
    await mkdir(dirname(path(name)), { recursive: true })
    await writeFile(path(name), text)
  }
  for (const [name, target] of Object.entries({ ...PACKAGES, ...options.link })) {
    if (target === false) continue
    await mkdir(dirname(path(`node_modules/${name}`)), { recursive: true })
    await symlink(target, path(`node_modules/${name}`), 'junction')
  }
  return { dir, path }
}

export interface Ended {
  readonly code: number
  readonly stdout: string
  readonly stderr: string
}

export interface RunOptions {
  readonly cwd: string
  /** The Node to run. Default: the one that runs the tests. */
  readonly node?: string
  readonly input?: string | Uint8Array
  readonly env?: Readonly<Record<string, string>>
}

/** Runs `zyqueue` like a shell, without a terminal. */
export async function zyqueue(args: readonly string[], options: RunOptions): Promise<Ended> {
  return run([bin, ...args], options)
}

/** Starts `zyqueue`, which the test should end. It is killed after the test in any case. */
export function startZyqueue(
  args: readonly string[],
  options: RunOptions,
): { child: ChildProcess; ended: Promise<Ended> } {
  return start([bin, ...args], options)
}

export async function run(args: readonly string[], options: RunOptions): Promise<Ended> {
  return start(args, options).ended
}

function start(
  args: readonly string[],
  { cwd, node = process.execPath, input = '', env = {} }: RunOptions,
): { child: ChildProcess; ended: Promise<Ended> } {
  const { promise: ended, resolve } = withResolvers<Ended>()
  const inherited = Object.entries(process.env).filter(([name]) => !/^(ZYQUEUE_|VITEST|NODE_)/.test(name))
  const child = execFile(
    node,
    args,
    { cwd, env: { ...Object.fromEntries(inherited), ...env }, timeout: 600_000, maxBuffer: 1e8 },
    (error, stdout, stderr) => {
      const code = error === null ? 0 : typeof error.code === 'number' ? error.code : -1
      resolve({ code, stdout, stderr })
    },
  )
  child.stdin?.on('error', () => {})
  child.stdin?.end(input)
  onTestFinished(() => void child.kill('SIGKILL'))
  return { child, ended }
}

function withResolvers<T>(): { promise: Promise<T>; resolve: (value: T) => void } {
  let resolve: (value: T) => void = () => {}
  const promise = new Promise<T>((settle) => {
    resolve = settle
  })
  return { promise, resolve }
}

/** Returns what the child has written to standard error so far. */
export function errorsOf(child: ChildProcess): () => string {
  let text = ''
  child.stderr?.on('data', (chunk) => (text += String(chunk)))
  return () => text
}

/** Waits for a condition, at most a minute and a half. */
export async function until<T>(what: string, read: () => Promise<T | undefined> | T | undefined): Promise<T> {
  const endMs = performance.now() + 90_000
  for (;;) {
    const value = await read()
    if (value !== undefined) return value
    if (performance.now() > endMs) throw new Error(`timed out waiting for ${what}`)
    await new Promise((wake) => setTimeout(wake, 20))
  }
}
