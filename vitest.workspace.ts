import { existsSync, readdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import type { TestProjectConfiguration } from 'vitest/config'

/** Every folder with tests. Vitest no longer reads this file itself: `vitest.config.ts` imports it. */
const folders = [...within('packages'), ...within('examples'), 'benchmarks', 'chaos', 'scripts']

/**
 * Longer than all waits of a test together: each wait has its own bound and says what it waited for. Starting a process may take
 * seconds on a busy machine.
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
