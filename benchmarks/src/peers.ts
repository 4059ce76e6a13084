import { execFile } from 'node:child_process'
import { existsSync, readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { promisify } from 'node:util'

/**
 * Installs the peers of a bench where they are not, or were compiled for another version of Node. Rejects, with one
 * line, where that fails.
 */
export async function installPeers(folder: string): Promise<void> {
  const marker = join(folder, 'node_modules', '.installed-for')
  const wanted = `${process.version} ${process.platform} ${process.arch}\n${readFileSync(join(folder, 'package-lock.json'), 'utf8')}`
  if (existsSync(marker) && readFileSync(marker, 'utf8') === wanted) return
  try {
    await promisify(execFile)('npm', ['ci', '--no-audit', '--no-fund', '--loglevel=error', '--engine-strict=false'], {
      cwd: folder,
      timeout: 300_000,
      maxBuffer: 64 * 1024 * 1024,
    })
  } catch (error) {
    const output = error instanceof Error && 'stderr' in error ? String(error.stderr) : ''
    const compiler = /node-gyp|gyp ERR/.test(output)
      ? ' (they are compiled: a C++ compiler, make and Python are needed)'
      : ''
    throw new Error(`npm ci in ${folder} failed${compiler}`, { cause: error })
  }
  writeFileSync(marker, wanted)
}
