import { execFile } from 'node:child_process'
import { mkdtempSync, rmSync } from 'node:fs'
import { createRequire } from 'node:module'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { promisify } from 'node:util'
import { expect, test } from 'vitest'

const run = promisify(execFile)
const here = fileURLToPath(new URL('..', import.meta.url))
const zyqueue = join(createRequire(import.meta.url).resolve('@zyqueue/cli/package.json'), '../dist/bin.js')

test('every submitted job runs, higher priorities first', async () => {
  const folder = mkdtempSync(join(tmpdir(), 'zyqueue-example-sqlite-'))
  try {
    const env = { ...process.env, SQLITE_URL: `sqlite:${join(folder, 'queue.db')}` }
    await run(process.execPath, [join(here, 'dist/submit.js')], { env })
    const work = [zyqueue, 'work', '-f', join(here, 'tasks.ts'), '-w', '1', '--concurrency', '1', '--burst']
    const { stderr } = await run(process.execPath, work, { env })
    const done = [...stderr.matchAll(/job data: test1: redis,test2: gearman,num: (\d)/g)].map(([, num]) => num)
    expect(done).toEqual(['1', '0', '3', '4', '2'])
  } finally {
    rmSync(folder, { recursive: true, force: true })
  }
})
