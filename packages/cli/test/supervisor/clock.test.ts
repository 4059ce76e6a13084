import { writeFileSync } from 'node:fs'
import { describeWithServer } from '@zyqueue/test-servers/vitest'
import { expect, test } from 'vitest'
import { startZyqueue, until } from '../project.ts'
import { Stage } from './stage.ts'

await describeWithServer('libfaketime', 'when the host’s clock is set while jobs run', (library) => {
  test.each(['+1h', '-1h'])('by %s, hard timeouts are kept as they are', async (jump) => {
    const stage = await Stage.set(`
export const long = queueJob({ hardTimeoutMs: 600_000, retries: 0 }, async function long(worker, job) {
  ran(job)
  await untilExists('go')
  note('done ' + (Date.now() - job.data))
})
export const hang = queueJob({ hardTimeoutMs: 3_000, retries: 0 }, async function hang(worker, job) {
  note('hang')
  await new Promise(() => {})
})`)
    const clock = stage.project.path('clock')
    writeFileSync(clock, '+0')
    const { child, ended } = startZyqueue(
      ['work', '-f', 'tasks.mjs', '-C', stage.connection, '-w', '2', '--concurrency', '1', '--prefetch', '1'],
      {
        cwd: stage.project.dir,
        env: {
          LD_PRELOAD: library,
          FAKETIME_TIMESTAMP_FILE: clock,
          FAKETIME_NO_CACHE: '1',
          FAKETIME_DONT_FAKE_MONOTONIC: '1',
          TMPDIR: stage.temporary,
        },
      },
    )
    const submittedAt = Date.now()
    await stage.submit('long', [submittedAt])
    await stage.untilNoted(1)
    await stage.submit('hang', [1])
    await stage.untilNoted(2)
    writeFileSync(clock, jump)
    // The supervisor looks at both processes in the same rounds.
    await until('the end of the job that hangs', async () => (await stage.dead('hang')).length > 0 || undefined)
    writeFileSync(stage.project.path('go'), '')
    await until('the end of the long job', () => stage.lines().some((line) => line.startsWith('done')) || undefined)
    child.kill('SIGTERM')
    await ended

    const lines = stage.lines()
    expect(lines.filter((line) => line === `${submittedAt} 0`)).toHaveLength(1)
    expect(lines.filter((line) => line === 'hang')).toHaveLength(1)
    const [done] = lines.filter((line) => line.startsWith('done'))
    // Proves that the clock was set.
    expect(Math.abs(Number(done?.slice('done '.length)))).toBeGreaterThan(3_000_000)
    expect(await stage.dead('long')).toEqual([])
    expect(await stage.dead('hang')).toMatchObject([{ reason: expect.stringMatching(/^ZYQ_JOB_TIMEOUT/) }])
  })
})
