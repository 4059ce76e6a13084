import { execFile, type ChildProcess } from 'node:child_process'
import { mkdir, mkdtemp, realpath, rm, symlink, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { dirname, join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { onTestFinished } from 'vitest'

const packages = fileURLToPath(new URL('../../../', import.meta.url))

/** The built command line. Tests run it if they need a supervisor in a process of its own. */
export const bin: string = join(packages, 'cli', 'dist', 'bin.js')

const LINKED_PACKAGES: Readonly<Record<string, string>> = {
  '@zyqueue/core': join(packages, 'core'),
  '@zyqueue/broker-sqlite': join(packages, 'broker-sqlite'),
}

export interface Project {
  readonly dir: string
  path(name: string): string
}

/** A user's project in a temporary folder, removed after the test. Core and the SQLite broker are linked, as pnpm does. */
export async function makeProject(files: Readonly<Record<string, string>>): Promise<Project> {
  const dir = await realpath(await mkdtemp(join(tmpdir(), 'zyqueue-supervisor-')))
  onTestFinished(() => rm(dir, { recursive: true, force: true, maxRetries: 3 }))
  const path = (name: string): string => join(dir, name)
  const manifest = { name: 'a-project', type: 'module', dependencies: { '@zyqueue/core': '*' } }
  for (const [name, text] of Object.entries({ 'package.json': JSON.stringify(manifest), ...files })) {
    await writeFile(path(name), text)
  }
  for (const [name, target] of Object.entries(LINKED_PACKAGES)) {
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
  readonly env?: Readonly<Record<string, string>>
}

/** Runs `zyqueue` as a shell would, without a terminal. */
export async function zyqueue(args: readonly string[], options: RunOptions): Promise<Ended> {
  return run([bin, ...args], options)
}

/** Starts `zyqueue`. The test ends it; it is killed after the test in any case. */
export function startZyqueue(
  args: readonly string[],
  options: RunOptions,
): { child: ChildProcess; ended: Promise<Ended> } {
  return start([bin, ...args], options)
}

export async function run(args: readonly string[], options: RunOptions): Promise<Ended> {
  return start(args, options).ended
}

function start(args: readonly string[], { cwd, env = {} }: RunOptions): { child: ChildProcess; ended: Promise<Ended> } {
  let resolve: (ended: Ended) => void = () => {}
  const ended = new Promise<Ended>((settle) => {
    resolve = settle
  })
  const inherited = Object.entries(process.env).filter(([name]) => !/^(ZYQUEUE_|VITEST|NODE_)/.test(name))
  const child = execFile(
    process.execPath,
    args,
    { cwd, env: { ...Object.fromEntries(inherited), ...env }, timeout: 600_000, maxBuffer: 1e8 },
    (error, stdout, stderr) => {
      const code = error === null ? 0 : typeof error.code === 'number' ? error.code : -1
      resolve({ code, stdout, stderr })
    },
  )
  child.stdin?.on('error', () => {})
  child.stdin?.end()
  onTestFinished(() => void child.kill('SIGKILL'))
  return { child, ended }
}

/** Waits for a condition, at most a minute and a half. */
export async function until<T>(what: string, read: () => Promise<T | undefined> | T | undefined): Promise<T> {
  const endMs = performance.now() + 90_000
  for (;;) {
    const value = await read()
    if (value !== undefined) return value
    if (performance.now() > endMs) throw new Error(`Timed out after 90 s while waiting for ${what}.`)
    await new Promise((wake) => setTimeout(wake, 20))
  }
}
