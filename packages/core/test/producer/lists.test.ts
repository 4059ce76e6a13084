import { afterEach, expect, expectTypeOf, test } from 'vitest'
import type { JobHandle } from '../../src/producer/job-handles.ts'
import { producers } from '../../src/producer/producers.ts'
import { queueJob, remoteTask } from '../../src/tasks/queue-job.ts'
import type { Task } from '../../src/tasks/task.ts'
import { createTestQueue } from '../../src/testing/index.ts'
import type { Job } from '../../src/worker/job.ts'
import { scripted, uniqueName } from '../support.ts'

afterEach(() => producers.close())

const refusal = (text: RegExp) => ({ code: 'ZYQ_CONFIG', message: expect.stringMatching(text) })

test('a list from outside is refused with a sentence that names submitMany, and stores nothing', async () => {
  const broker = scripted()
  const task: Task = remoteTask(uniqueName(), { server: broker })
  const body: unknown = JSON.parse('[{"to":"a"},{"to":"b"}]')
  await expect(task.submit(body)).rejects.toMatchObject(refusal(/is a list.*submitMany/))
  await expect(task.submit([])).rejects.toMatchObject(refusal(/is a list/))
  const { call }: { call: Task['submit'] } = { call: (...all: unknown[]) => Reflect.apply(task.submit, task, all) }
  await expect(call(body, JSON.parse('{"batch":false}'))).rejects.toMatchObject(refusal(/is a list/))
  await expect(call(body, JSON.parse('{"batch":"yes"}'))).rejects.toMatchObject(refusal(/batch/))
  await task.submitMany([body])
  expect(broker.store.queue(task.name).stats().ready).toBe(1)
})

test('with `batch: true` a list is one job per item, and anything else is refused', async () => {
  const broker = scripted()
  const task: Task = remoteTask(uniqueName(), { server: broker })
  expect(await task.submit([1, [2], 3], { batch: true })).toHaveLength(3)
  expect(broker.store.queue(task.name).stats().ready).toBe(3)
  const text = Reflect.apply(task.submit, task, ['text', { batch: true }])
  await expect(text).rejects.toMatchObject(refusal(/not a list/))
  await expect(task.submitMany([1], JSON.parse('{"batch":true}'))).rejects.toMatchObject({ code: 'ZYQ_UNSUPPORTED' })
})

test('a sparse list is refused, because a hole is not a job', async () => {
  const broker = scripted()
  const task = remoteTask<number>(uniqueName(), { server: broker })
  const sparse = Object.assign([1], { length: 2 })
  await expect(task.submit(sparse, { batch: true })).rejects.toMatchObject(refusal(/no item 1\b/))
  await expect(task.submitMany(sparse)).rejects.toMatchObject(refusal(/no item 1\b/))
  expect(broker.made()).toBe(0)
})

test('a task that is declared with the server of the original submits a list as a batch', async () => {
  const task = queueJob({ name: uniqueName(), server: 'gearman' }, (_worker, job: Job<{ id: number }>) => job.data.id)
  const remote = remoteTask<{ id: number }>(uniqueName(), { server: 'gearman' })
  const byConnection = queueJob(
    { name: uniqueName(), connection: 'gearman://localhost' },
    (_worker, job: Job<{ id: number }>) => job.data.id,
  )
  await using queue = createTestQueue({ tasks: [task, remote, byConnection] })
  expectTypeOf(await task.submit([{ id: 1 }, { id: 2 }])).toEqualTypeOf<JobHandle[]>()
  expectTypeOf(await task.submit({ id: 3 })).toEqualTypeOf<JobHandle>()
  expect(await remote.submit([{ id: 4 }], { headers: { a: 'b' } })).toHaveLength(1)
  // @ts-expect-error only the declared server takes a list
  await expect(byConnection.submit([{ id: 5 }])).rejects.toMatchObject(refusal(/is a list/))
  // @ts-expect-error the list is checked too
  await task.submit([{ id: 'six' }])
  expect(queue.jobs().map(({ data }) => data)).toEqual([{ id: 1 }, { id: 2 }, { id: 3 }, { id: 4 }, { id: 'six' }])
})

test('without data a submit needs no argument', async () => {
  const ran: unknown[] = []
  const bare = queueJob({ name: uniqueName() }, () => void ran.push('bare'))
  const empty = queueJob({ name: uniqueName() }, (_worker, job: Job<null>) => void ran.push(job.data))
  const optional = queueJob({ name: uniqueName() }, (_worker, job: Job<string | undefined>) => void ran.push(job.data))
  const needing = queueJob({ name: uniqueName() }, (_worker, job: Job<string>) => void ran.push(job.data))
  await using queue = createTestQueue({ tasks: [bare, empty, optional, needing] })
  await bare.submit()
  await empty.submit()
  await optional.submit(undefined, { priority: 'low' })
  // @ts-expect-error this task needs data
  await needing.submit()
  await queue.run()
  expect(ran.filter((data) => data === null)).toHaveLength(3)
  expect(ran).toContain('bare')
})
