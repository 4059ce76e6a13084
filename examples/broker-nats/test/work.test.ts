import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { waitFor } from '@zyqueue/broker-test-kit'
import { startNats } from '@zyqueue/test-servers'
import { describeWithServer } from '@zyqueue/test-servers/vitest'
import { expect, test } from 'vitest'
import { makeProject } from './project.ts'

const EXAMPLE = readFileSync(new URL('../example/tasks.ts', import.meta.url), 'utf8')

/** Writes the process id and the job to a file after each run. */
const NOTING = `
import { appendFileSync } from 'node:fs'
import { setTimeout as sleep } from 'node:timers/promises'
import { queueJob } from '@zyqueue/core'
export const note = queueJob({ connection: process.env['NATS_URL'] }, async function note(worker, job) {
  await sleep(20)
  appendFileSync('notes.txt', process.pid + ' ' + job.data + '\\n')
})
`

await describeWithServer('nats', 'the example', () => {
  test('the command finds the broker by its scheme and runs a submitted job', async () => {
    await using server = await startNats()
    const project = makeProject(EXAMPLE, server.url)
    const submit = project.start('submit', '-f', 'tasks.ts', 'queueTaskNats', '{"test1":"redis","test2":"gearman"}')
    expect(await submit.ended).toMatchObject({ code: 0 })
    const { stderr } = await project.start('work', '-f', 'tasks.ts', '-w', '1', '--burst').ended
    expect(stderr).toContain('job data: test1: redis,test2: gearman')
  })

  test('every stored job runs although a worker and the server are killed', async () => {
    await using server = await startNats()
    const project = makeProject(NOTING, `${server.url}?ackWait=10`)
    const jobs = Array.from({ length: 300 }, (_, index) => `${index}`)
    const submit = project.start('submit', '-f', 'tasks.ts', 'note', `[${jobs.join()}]`)
    expect(await submit.ended).toMatchObject({ code: 0 })

    const { child, ended } = project.start('work', '-f', 'tasks.ts', '-w', '2', '--concurrency', '3')
    const notes = async (count: number): Promise<readonly string[]> =>
      waitFor(
        `${count} jobs are done`,
        () => {
          const lines = readNotes(project.dir)
          return new Set(lines.map(([, job]) => job)).size >= count && lines.map(([pid]) => pid ?? '')
        },
        300_000,
      )
    const [pid] = await notes(30)
    process.kill(Number(pid), 'SIGKILL')
    await notes(100)
    await server.kill('SIGKILL')
    await server.restart()
    await notes(jobs.length)

    expect(new Set(readNotes(project.dir).map(([, job]) => job))).toEqual(new Set(jobs))
    child.kill('SIGTERM')
    expect(await ended).toMatchObject({ code: 0 })
  })
})

function readNotes(dir: string): readonly (readonly string[])[] {
  try {
    const lines = readFileSync(join(dir, 'notes.txt'), 'utf8').split('\n').slice(0, -1)
    return lines.map((line) => line.split(' '))
  } catch {
    return [] // No job has run yet.
  }
}
