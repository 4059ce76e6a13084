import { spawnSync } from 'node:child_process'
import { readdirSync } from 'node:fs'
import { fileURLToPath } from 'node:url'
import { expect, test } from 'vitest'
import { drivers } from '../src/driver.ts'
import { temporaryFolder } from './support.ts'

test.each(drivers())('a closed broker leaves no descriptor, memory or file behind ($name)', ({ name }) => {
  const folder = temporaryFolder()
  const script = fileURLToPath(new URL('children/reopen.js', import.meta.url))
  const run = spawnSync('sh', ['-c', 'ulimit -n 256 && exec "$@"', 'sh', process.execPath, script, folder, name], {
    encoding: 'utf8',
  })
  expect(run).toMatchObject({ status: 0, stderr: '' })
  const [first, , , last] = run.stdout.split('\n').map((line) => line.split(' ').map(Number))
  expect(last?.[0]).toBe(first?.[0])
  // An earlier version kept half a megabyte for each of 120 brokers.
  expect((last?.[1] ?? Infinity) - (first?.[1] ?? 0)).toBeLessThan(40e6)
  expect(readdirSync(folder).filter((file) => /-(?:wal|shm)$/.test(file))).toEqual([])
})
