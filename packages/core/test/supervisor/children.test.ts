import { expect, onTestFinished, test } from 'vitest'
import { until } from './project.ts'
import { isAlive, lineOf, SupervisorFixture } from './fixture.ts'

/** Each handler starts a process that would live for an hour, and notes its id. */
const TASKS = `
import { spawn } from 'node:child_process'
export const convert = queueJob({ hardTimeoutMs: HARD, retries: 0 }, async function convert(worker, job) {
  const child = spawn('sleep', ['3600'], { stdio: 'ignore' })
  note(String(child.pid))
  if (job.data === 'dies') process.exit(1)
  if (job.data === 'blocks') spin(Infinity)
  await new Promise(() => {})
})`

test.each([
  ['waits beyond its hard timeout', 'waits', 300],
  ['blocks its process beyond its hard timeout', 'blocks', 300],
  ['ends its process', 'dies', 600_000],
  ['is stopped', 'waits', 600_000],
])('a handler that %s leaves no child process behind', async (end, data, hardTimeoutMs) => {
  const fixture = await SupervisorFixture.create(TASKS.replace('HARD', String(hardTimeoutMs)))
  await fixture.submit('convert', [data])
  const { supervisor, ended, log } = fixture.supervise({ maxWorkers: 1, maxJobsPerWorker: 1, concurrency: 1 })
  await fixture.untilNoted(1)
  const [child = 0] = fixture.lines().map(Number)
  onTestFinished(() => {
    if (isAlive(child)) process.kill(child, 'SIGKILL')
  })
  if (end === 'is stopped') {
    supervisor.stop()
    await ended
  }
  await until('the end of the child process', () => !isAlive(child) || undefined)
  if (hardTimeoutMs === 300) expect(lineOf(log, 'exceeded its hard timeout')).toBeDefined()
})
