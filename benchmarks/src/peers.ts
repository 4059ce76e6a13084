import { execFile } from 'node:child_process'
import { existsSync, readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { promisify } from 'node:util'

/**
 * Installs the peers of a benchmark, if they are missing or were compiled for another version of Node. If that fails, rejects
 * with an error of one line.
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
    const compiler = /node-gyp|gyp ERR/.test(output) ? ': install a C++ compiler, make and Python' : ''
    throw new Error(`npm ci failed in ${folder}${compiler}`, { cause: error })
  }
  writeFileSync(marker, wanted)
}
