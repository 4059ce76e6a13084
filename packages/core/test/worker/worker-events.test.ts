import { afterEach, expect, test } from 'vitest'
import { BrokerError } from '../../src/errors.ts'
import { Discard, Postpone, Reject, Retry } from '../../src/middleware/signals.ts'
import { producers } from '../../src/producer/producers.ts'
import type { Worker } from '../../src/worker/worker.ts'
import { until } from '../support.ts'
import { setUp } from './set-up.ts'

afterEach(() => producers.close())

/** Records the events of a worker as `<event> <end or data>`. */
function record(worker: Worker): string[] {
  const events: string[] = []
  worker.on('start', ({ data }) => events.push(`start ${String(data)}`))
  for (const name of ['end', 'retry', 'postpone', 'dead'] as const) {
    worker.on(name, ({ end }) => events.push(`${name} ${end}`))
  }
  return events
}

test('on reports each start and each end, and by its outcome', async () => {
  const ways: Readonly<Record<number, () => unknown>> = {
    1: () => 'result',
    2: () => Promise.reject(new Discard()),
    3: () => Promise.reject(new Postpone({ delayMs: 3_600_000 })),
    4: () => Promise.reject(new Retry({ delayMs: 3_600_000 })),
    5: () => Promise.reject(new Reject('no')),
  }
  const { task, worker } = setUp({}, ({ data }) => ways[Number(data)]?.())
  const events = record(worker)
  await task.submitMany([1, 2, 3, 4, 5])
  await worker.start()
  await until('all have ended', () => events.filter((event) => event.startsWith('end ')).length === 5)
  const starts = [1, 2, 3, 4, 5].map((data) => `start ${data}`)
  const ends = ['done', 'discarded', 'postponed', 'retried', 'dead'].map((end) => `end ${end}`)
  const single = ['postpone postponed', 'retry retried', 'dead dead']
  expect(events.toSorted()).toEqual([...starts, ...ends, ...single].toSorted())
})

test('an event has the facts of the job, and on can be chained', async () => {
  const seen: unknown[] = []
  const failure = new Error('no')
  const { task, worker } = setUp({}, () => Promise.reject(failure), { task: { retries: 0 } })
  const same = worker.on('start', (job) => seen.push(job.id)).on('dead', (event) => seen.push(event))
  expect(same).toBe(worker)
  const { id } = await task.submit(1)
  await worker.start()
  await until('it is dead', () => seen.length === 2)
  const { name, queue } = task
  const durationMs = expect.any(Number)
  const event = { end: 'dead', task: name, queue, id, attempt: 1, durationMs, error: failure, delayMs: 0 }
  expect(seen).toEqual([id, event])
})

test('a listener that throws or rejects is logged, and neither the job nor another listener notices', async () => {
  const ended: string[] = []
  const { task, worker, logger, stats } = setUp({}, () => 1)
  worker.on('start', () => {
    throw new Error('thrown')
  })
  worker.on('end', () => Promise.reject(new Error('rejected')))
  worker.on('end', ({ end }) => ended.push(end))
  await task.submitMany([1, 2])
  await worker.start()
  await until('both are logged', () => logger.lines.filter(({ level }) => level === 'error').length === 4)
  await worker.drain()
  expect(ended).toEqual(['done', 'done'])
  expect(stats()).toMatchObject({ ready: 0, active: 0, dead: 0 })
  const messages = logger.lines.map(({ message }) => message)
  expect(messages).toContain('a listener of the worker\'s event "start" failed')
  expect(messages).toContain('a listener of the worker\'s event "end" failed')
})

test('a failure to receive is an event and ends nothing, also without a listener', async () => {
  const errors: unknown[] = []
  let failing = true
  let failures = 0
  const { task, worker } = setUp(
    {
      receive: async (real, ...call) => {
        if (failing) failures++
        if (failing) throw new BrokerError('ZYQ_BROKER', 'no')
        return real.receive(...call)
      },
    },
    () => 1,
  )
  await task.submit(1)
  await worker.start()
  await until('it has failed without a listener', () => failures > 0)
  worker.on('error', (error) => errors.push(error))
  await until('the listener is called', () => errors.length > 0)
  failing = false
  await until('the job is done', () => worker.status.done === 1)
  expect(errors[0]).toMatchObject({ code: 'ZYQ_BROKER' })
})

test.each([
  ['stop', () => {}],
  ['end', undefined],
])('on(%j, %o) is refused', (name, listener) => {
  const { worker } = setUp({}, () => 1)
  expect(() => Reflect.apply(worker.on, worker, [name, listener])).toThrow(
    expect.objectContaining({ code: 'ZYQ_CONFIG', message: expect.stringContaining('worker.on: ') }),
  )
})
