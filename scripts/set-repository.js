// @ts-check
/**
 * Writes the URL of the repository into the manifest of each public package: `node scripts/set-repository.js URL`. The release
 * workflow runs it, so that a fork releases with its own URL.
 */
import { readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { publicPackages } from './packages.js'

const [url] = process.argv.slice(2)
if (url === undefined) throw new Error('say where the repository is: node scripts/set-repository.js URL')

for (const { folder, path } of publicPackages()) {
  const file = join(path, 'package.json')
  const manifest = JSON.parse(readFileSync(file, 'utf8'))
  const repository = { type: 'git', url: `git+${url}.git`, directory: `packages/${folder}` }
  writeFileSync(file, `${JSON.stringify({ ...manifest, repository }, null, 2)}\n`)
}
