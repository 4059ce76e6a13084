import { existsSync, readdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import type { TestProjectConfiguration } from 'vitest/config'

/** Every folder with tests of its own. Vitest no longer reads this file by itself: `vitest.config.ts` imports it. */
const folders = [...within('packages'), ...within('examples'), 'benchmarks', 'chaos', 'scripts']

/**
 * Beyond all that a test waits for: its waits have bounds of their own, and say what they were for. Starting a process takes
 * seconds on a machine that has better things to do.
 */
const testTimeout = 600_000

export default folders.map((root) => ({
  test: { name: nameOf(root), root, testTimeout, hookTimeout: testTimeout },
})) satisfies TestProjectConfiguration[]

function within(folder: string): readonly string[] {
  return readdirSync(join(import.meta.dirname, folder))
    .map((name) => `${folder}/${name}`)
    .filter((path) => existsSync(join(import.meta.dirname, path, 'package.json')))
}

function nameOf(folder: string): string {
  const manifest: unknown = JSON.parse(readFileSync(join(import.meta.dirname, folder, 'package.json'), 'utf8'))
  return typeof manifest === 'object' && manifest !== null && 'name' in manifest ? String(manifest.name) : folder
}
