// @ts-check
import { readdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'

/** The folder of the repository. */
export const root = fileURLToPath(new URL('..', import.meta.url))

/**
 * The packages that are published, by the name of their folder.
 *
 * @returns {{ folder: string, path: string, name: string }[]}
 */
export function publicPackages() {
  return readdirSync(join(root, 'packages'), { withFileTypes: true })
    .filter((entry) => entry.isDirectory())
    .map(({ name: folder }) => {
      const path = join(root, 'packages', folder)
      const manifest = JSON.parse(readFileSync(join(path, 'package.json'), 'utf8'))
      return { folder, path, name: String(manifest.name), isPublic: manifest.private !== true }
    })
    .filter(({ isPublic }) => isPublic)
}
