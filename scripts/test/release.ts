import { execFile } from 'node:child_process'
import { cpSync, existsSync, mkdirSync, readdirSync } from 'node:fs'
import { basename, dirname, join } from 'node:path'
import { promisify } from 'node:util'
import { root } from '../packages.js'

const run = promisify(execFile)

/** The URL of the repository in the release's manifests. */
export const REPOSITORY = 'https://git.example/zyqueue/zyqueue'

export type Manifest = Readonly<Record<string, unknown>> & { readonly name: string; readonly version: string }

/** A package as npm would publish it. */
export interface Packed {
  readonly manifest: Manifest
  readonly tarball: string
  /** Paths in the package. */
  readonly files: readonly string[]
  /** The text of one of its files. */
  read(path: string): Promise<string>
}

/**
 * Makes the next release of all public packages in a copy of this repository: sets versions, installs, builds and packs, like
 * `.github/workflows/release.yml`. Changes nothing in this repository.
 */
export async function packRelease(folder: string, env: NodeJS.ProcessEnv): Promise<readonly Packed[]> {
  const copy = join(folder, 'repository')
  const tarballs = join(folder, 'tarballs')
  const pnpm = (...args: readonly string[]) =>
    run('npx', ['-y', 'pnpm@12.21.0', ...args], { cwd: copy, env: { ...env, CI: 'true' }, maxBuffer: 2 ** 26 })
  const { stdout } = await run('git', ['ls-files', '-z', '--cached', '--others', '--exclude-standard'], { cwd: root })
  for (const path of stdout.split('\0').filter((path) => path !== '' && existsSync(join(root, path)))) {
    mkdirSync(dirname(join(copy, path)), { recursive: true })
    cpSync(join(root, path), join(copy, path))
  }
  await pnpm('install', '--frozen-lockfile', '--prefer-offline')
  await pnpm('run', 'release:version')
  await run(process.execPath, ['scripts/set-repository.js', REPOSITORY], { cwd: copy, env })
  await pnpm('run', 'build')
  await pnpm('-r', '--filter', './packages/*', 'pack', '--pack-destination', tarballs)
  const packed = await Promise.all(readdirSync(tarballs).map((name) => unpacked(join(tarballs, name))))
  return packed.filter(({ manifest }) => manifest['private'] !== true)
}

async function unpacked(tarball: string): Promise<Packed> {
  const { stdout } = await run('tar', ['-tzf', tarball])
  const files = stdout
    .trim()
    .split('\n')
    .map((path) => path.replace(/^package\//, ''))
  const read = async (path: string): Promise<string> =>
    (await run('tar', ['-xzOf', tarball, `package/${path}`], { maxBuffer: 2 ** 26 })).stdout
  const manifest: unknown = JSON.parse(await read('package.json'))
  if (!isManifest(manifest)) throw new Error(`${basename(tarball)} has no manifest`)
  return { manifest, tarball, files, read }
}

function isManifest(value: unknown): value is Manifest {
  return typeof value === 'object' && value !== null && 'name' in value && 'version' in value
}
