// @ts-check
/** Checks each public package as npm would publish it, with publint and Are The Types Wrong. Build first. Prints only problems. */
import { execFile } from 'node:child_process'
import { join } from 'node:path'
import { promisify } from 'node:util'
import { publicPackages, root } from './packages.js'

const run = promisify(execFile)

/** @type {readonly (readonly [string, ...string[]])[]} */
const CHECKS = [
  ['publint', '--strict'],
  ['attw', '--profile', 'esm-only', '--pack', '.'],
]

const problems = await Promise.all(publicPackages().map(check))
for (const problem of problems.flat()) process.stderr.write(`${problem}\n`)
process.exitCode = problems.flat().length === 0 ? 0 : 1

/** @param {{ name: string, path: string }} of */
async function check({ name, path }) {
  const found = []
  for (const [tool, ...args] of CHECKS)
    try {
      await run(join(root, 'node_modules', '.bin', tool), args, { cwd: path })
    } catch (error) {
      const { stdout = '', stderr = '' } = /** @type {{ stdout?: string, stderr?: string }} */ (error)
      found.push(`${name}: ${tool}\n${stdout}${stderr}`)
    }
  return found
}
