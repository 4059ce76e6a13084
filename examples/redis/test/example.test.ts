import { execFile } from 'node:child_process'
import { createRequire } from 'node:module'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { promisify } from 'node:util'
import { startRedis } from '@zyqueue/test-servers'
import { describeWithServer } from '@zyqueue/test-servers/vitest'
import { expect, test } from 'vitest'

const run = promisify(execFile)
const here = fileURLToPath(new URL('..', import.meta.url))
const zyqueue = join(createRequire(import.meta.url).resolve('@zyqueue/cli/package.json'), '../dist/bin.js')

await describeWithServer('redis', 'the example', () => {
  test('every submitted job runs', async () => {
    const server = await startRedis()
    try {
      const env = { ...process.env, REDIS_URL: server.url }
      await run(process.execPath, [join(here, 'dist/submit.js')], { env })
      const work = [zyqueue, 'work', '-f', join(here, 'tasks.ts'), '-w', '1', '--concurrency', '1', '--burst']
      const { stderr } = await run(process.execPath, work, { env })
      const done = [...stderr.matchAll(/job data: test1: redis,test2: gearman,num: (\d)/g)].map(([, num]) => num)
      expect(done).toEqual(['1', '0', '2'])
    } finally {
      await server.stop()
    }
  })
})
