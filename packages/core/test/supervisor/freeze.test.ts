import { spawn } from 'node:child_process'
import { writeFileSync } from 'node:fs'
import { ZyQueueError } from '@zyqueue/core'
import { expect, onTestFinished, test } from 'vitest'
import { bin, until } from './project.ts'
import { byJob, numbers, SupervisorFixture } from './fixture.ts'

const JOBS = 20

const TASKS = `
export const count = queueJob({}, async function count(worker, job) {
  ran(job)
  if (job.data === 0 && job.deliveryCount === 0) await untilExists('go')
})`

const PROGRAM = `import './tasks.mjs'
import { createWorker } from '@zyqueue/core'
await createWorker({ concurrency: 1, prefetch: ${JOBS}, leaseMs: 2_000 }).start()`

test.each([
  [
    'under a supervisor',
    ['work', '-f', 'tasks.mjs', '-w', '1', '--concurrency', '1', '--prefetch', String(JOBS), '--lease', '2s'],
  ],
  ['in a program', undefined],
])(
  'a worker %s that was frozen for longer than its lease starts none of the jobs that it has lost',
  async (_, work) => {
    const fixture = await SupervisorFixture.create(TASKS)
    writeFileSync(fixture.project.path('program.mjs'), PROGRAM)
    await fixture.submit('count', numbers(JOBS))
    const child = spawn(process.execPath, work === undefined ? ['program.mjs'] : [bin, ...work], {
      cwd: fixture.project.dir,
      env: { ...process.env, ZYQUEUE_CONNECTION: fixture.connection, TMPDIR: fixture.temporary },
      stdio: 'ignore',
    })
    // The supervisor, if there is one, and its worker process.
    const signal = (name: NodeJS.Signals): void => {
      for (const pid of new Set([child.pid ?? 0, ...frozen])) process.kill(pid, name)
    }
    let frozen: readonly number[] = []
    onTestFinished(() => signal('SIGKILL'))
    const isFull = async (): Promise<true | undefined> => (await fixture.queue('count'))?.active === JOBS || undefined
    await until('a full worker', isFull)
    await fixture.untilNoted(1)
    frozen = fixture.pids()
    signal('SIGSTOP')
    while (await isLocked(fixture)) {
      signal('SIGCONT')
      await until('a full worker again', isFull)
      signal('SIGSTOP')
    }

    const { supervisor, ended } = fixture.supervise({ maxWorkers: 1 })
    await until('the end of all jobs', () => byJob(fixture.runs()).size === JOBS || undefined)
    supervisor.drain()
    await ended
    writeFileSync(fixture.project.path('go'), '')
    signal('SIGCONT')
    await fixture.submit('count', ['last'])
    await until('the last job', () => fixture.runs().some(({ job }) => job === 'last') || undefined)

    const runs = byJob(fixture.runs())
    expect(runs.get('0')).toHaveLength(2)
    runs.delete('0')
    expect([...runs].filter(([, of]) => of.length > 1)).toEqual([])
  },
)

/** A process that was stopped during a transaction keeps the queue file locked. */
async function isLocked(fixture: SupervisorFixture): Promise<boolean> {
  const { admin } = await fixture.broker()
  return admin.deadLetters.purge('count').then(
    () => false,
    (error: unknown) => error instanceof ZyQueueError && error.code === 'ZYQ_BROKER_BUSY',
  )
}
