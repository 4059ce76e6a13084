import { writeFileSync } from 'node:fs'
import { describeWithServer } from '@zyqueue/test-servers/vitest'
import { expect, test } from 'vitest'
import { startZyqueue, until } from './project.ts'
import { SupervisorFixture } from './fixture.ts'

await describeWithServer('libfaketime', 'when the host’s clock is set while jobs run', (library) => {
  test.each(['+1h', '-1h'])('by %s, hard timeouts are kept as they are', async (jump) => {
    const fixture = await SupervisorFixture.create(`
export const long = queueJob({ hardTimeoutMs: 600_000, retries: 0 }, async function long(worker, job) {
  ran(job)
  await untilExists('go')
  note('done ' + (Date.now() - job.data))
})
export const hang = queueJob({ hardTimeoutMs: 3_000, retries: 0 }, async function hang(worker, job) {
  note('hang')
  await new Promise(() => {})
})`)
    const clock = fixture.project.path('clock')
    writeFileSync(clock, '+0')
    const { child, ended } = startZyqueue(
      ['work', '-f', 'tasks.mjs', '-C', fixture.connection, '-w', '2', '--concurrency', '1', '--prefetch', '1'],
      {
        cwd: fixture.project.dir,
        env: {
          LD_PRELOAD: library,
          FAKETIME_TIMESTAMP_FILE: clock,
          FAKETIME_NO_CACHE: '1',
          FAKETIME_DONT_FAKE_MONOTONIC: '1',
          TMPDIR: fixture.temporary,
        },
      },
    )
    const submittedAt = Date.now()
    await fixture.submit('long', [submittedAt])
    await fixture.untilNoted(1)
    await fixture.submit('hang', [1])
    await fixture.untilNoted(2)
    writeFileSync(clock, jump)
    // The supervisor looks at both processes in the same rounds.
    await until('the end of the job that hangs', async () => (await fixture.dead('hang')).length > 0 || undefined)
    writeFileSync(fixture.project.path('go'), '')
    await until('the end of the long job', () => fixture.lines().some((line) => line.startsWith('done')) || undefined)
    child.kill('SIGTERM')
    await ended

    const lines = fixture.lines()
    expect(lines.filter((line) => line === `${submittedAt} 0`)).toHaveLength(1)
    expect(lines.filter((line) => line === 'hang')).toHaveLength(1)
    const [done] = lines.filter((line) => line.startsWith('done'))
    // Proves that the clock was set.
    expect(Math.abs(Number(done?.slice('done '.length)))).toBeGreaterThan(3_000_000)
    expect(await fixture.dead('long')).toEqual([])
    expect(await fixture.dead('hang')).toMatchObject([{ reason: expect.stringMatching(/^ZYQ_JOB_TIMEOUT/) }])
  })
})
