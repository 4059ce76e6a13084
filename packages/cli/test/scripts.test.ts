import { expect, test } from 'vitest'
import { makeProject, run, zyqueue } from './project.ts'

/** Users' scripts that use core without the CLI. They must exit by themselves. */
const tasks = `
  import { queueJob } from '@zyqueue/core'
  export const mail = queueJob({}, async function mail(worker, job) {
    console.log('mailed', job.data)
  })
`

async function projectWith(script: string) {
  return makeProject({ manifest: { type: 'module' }, files: { 'tasks.js': tasks, 'script.js': script } })
}

async function waiting(dir: string): Promise<unknown> {
  const { stdout } = await zyqueue(['status', '--json'], { cwd: dir })
  return JSON.parse(stdout)
}

test('a script that only submits exits when its submits have resolved', async () => {
  const { dir } = await projectWith(`
    import { mail } from './tasks.js'
    const handles = await Promise.all([mail.submit('a'), mail.submit(['b', 'c'], { batch: true })])
    const stream = await mail.submitMany((async function* () { yield 'd'; yield 'e' })())
    console.log(handles.flat().length + stream.length)
  `)
  expect(await run(['script.js'], { cwd: dir })).toEqual({ code: 0, stdout: '5\n', stderr: '' })
  expect(JSON.stringify(await waiting(dir))).toMatch(/"ready":5/)
})

test('a submit arrives without being awaited', async () => {
  const { dir } = await projectWith(`
    import { mail } from './tasks.js'
    void mail.submit('a')
  `)
  expect(await run(['script.js'], { cwd: dir })).toEqual({ code: 0, stdout: '', stderr: '' })
  expect(JSON.stringify(await waiting(dir))).toMatch(/"ready":1/)
})

test('await using _ = producers closes the connections after pending submits have arrived', async () => {
  const { dir } = await projectWith(`
    import { producers } from '@zyqueue/core'
    import { mail } from './tasks.js'
    let submitting
    {
      const _ = producers
      submitting = mail.submit('a')
      await _[Symbol.asyncDispose]()
    }
    console.log((await submitting).task)
  `)
  expect(await run(['script.js'], { cwd: dir })).toEqual({ code: 0, stdout: 'mail\n', stderr: '' })
})

test('a worker keeps its process alive until it is closed, and no longer', async () => {
  const { dir } = await projectWith(`
    import { createWorker } from '@zyqueue/core'
    import { mail } from './tasks.js'
    const worker = createWorker({ maxJobs: 2 })
    await worker.start()
    void mail.submit(['a', 'b', 'c'], { batch: true })
    worker.ended.then(() => console.log('ended'))
  `)
  const { code, stdout, stderr } = await run(['script.js'], { cwd: dir })
  expect({ code, stderr }).toEqual({ code: 0, stderr: '' })
  expect(stdout.split('\n').filter((line) => line.startsWith('mailed'))).toHaveLength(2)
  expect(stdout).toMatch(/ended\n$/)
  expect(JSON.stringify(await waiting(dir))).toMatch(/"ready":1/)
})

test('a failing submit rejects, and the script exits', async () => {
  const { dir } = await projectWith(`
    import { mail } from './tasks.js'
    const error = await mail.submit('a', { connection: 'sqlite:tasks.js/queue.db' }).catch((thrown) => thrown)
    console.log(error.name)
  `)
  expect(await run(['script.js'], { cwd: dir })).toEqual({ code: 0, stdout: 'BrokerError\n', stderr: '' })
})
