import { setTimeout as sleep } from 'node:timers/promises'
import { afterEach, expect, onTestFinished, test } from 'vitest'
import { errorHeader } from '../src/messages/envelope.ts'
import { createLogger, type LoggerLike } from '../src/logger.ts'
import { Discard, Reject } from '../src/middleware/signals.ts'
import { producers } from '../src/producer/producers.ts'
import { Task } from '../src/tasks/task.ts'
import { createWorker } from '../src/worker/worker.ts'
import { scripted, uniqueName, until } from './support.ts'
import { thrownValues } from './thrown-values.ts'

afterEach(() => producers.close())

const names = Object.keys(thrownValues)

/** Runs a job for each item, which throws the result of `thrown`, until all have ended. */
async function jobsThatThrow(items: readonly string[], thrown: (item: string) => unknown, logger: LoggerLike) {
  const broker = scripted()
  const options = { server: broker, retries: { limit: 1, minDelayMs: 1, maxDelayMs: 1 } }
  const runs = new Map<string, number>()
  const task = new Task<string>(uniqueName(), options, {
    run: (_worker, { data }) => {
      const item = String(data)
      runs.set(item, (runs.get(item) ?? 0) + 1)
      throw thrown(item)
    },
  })
  const worker = createWorker({ tasks: [task], logger })
  onTestFinished(() => worker.close())
  const handles = await task.submit([...items], { batch: true })
  await worker.start()
  const stats = () => broker.store.queue(task.name).stats()
  await until('every job has ended', () => {
    const { ready, delayed, active } = stats()
    return runs.size === items.length && [ready, delayed, active].every((count) => count === 0)
  })
  const looker = broker.create({ baseDir: '.' })
  await looker.connect()
  const letters = await looker.admin.deadLetters.list(task.name, { limit: 1_000 })
  const ids = new Map(handles.map(({ id }, at) => [items[at] ?? '', id]))
  return { task, runs, letters, ids }
}

/** The header carries at most 1,000 characters, and `messageOf` of a hostile value a fixed text. */
function reasonOf(item: string): string {
  return `ZYQ_JOB_FAILED: ${errorHeader(thrownValues[item]?.())}`
}

test.each(['json', 'pretty'] as const)(
  '%s: whatever is thrown, the job is retried and dies as any other',
  async (format) => {
    const lines: string[] = []
    const logger = createLogger({ level: 'info', format, destination: { write: (text) => lines.push(text) } })
    const { task, runs, letters, ids } = await jobsThatThrow(names, (item) => thrownValues[item]?.(), logger)

    expect(names.length).toBeGreaterThanOrEqual(38)
    for (const item of names) {
      const id = ids.get(item) ?? item
      expect([item, runs.get(item)]).toEqual([item, 2])
      const letter = letters.find((dead) => dead.id === id)
      expect([item, letter?.reason]).toEqual([item, reasonOf(item)])
      expect(letter?.headers).toMatchObject({ 'zyq-attempts-made': '2' })
      const own = lines.filter((line) => line.includes(id))
      expect([item, own.length]).toEqual([item, 2])
      for (const line of own) {
        expect(line.length).toBeLessThan(50_000)
        if (format === 'pretty') expect(line).toContain(task.name)
        else {
          expect(line.trimEnd()).not.toMatch(/[\n\r]/)
          expect(JSON.parse(line)).toMatchObject({ task: task.name, job: id, time: expect.any(Number) })
        }
      }
    }
  },
)

test('a user logger that throws or rejects has no effect on jobs', async () => {
  const unhandled: unknown[] = []
  const onUnhandled = (error: unknown): void => void unhandled.push(error)
  process.on('unhandledRejection', onUnhandled)
  onTestFinished(() => void process.off('unhandledRejection', onUnhandled))
  const fail = (): never => {
    throw new Error('the disk of the log is full')
  }
  const reject: () => unknown = () => Promise.reject(new Error('the log server is away'))
  const throwing: LoggerLike = { debug: fail, info: fail, warn: fail, error: fail, isLevelEnabled: fail }
  const rejecting: LoggerLike = { debug: reject, info: reject, warn: reject, error: reject }
  for (const logger of [throwing, rejecting]) {
    const { runs, letters } = await jobsThatThrow(['a', 'b'], (item) => new Error(item), logger)
    expect([...runs.values()]).toEqual([2, 2])
    expect(letters.map(({ reason }) => reason).toSorted()).toEqual([
      'ZYQ_JOB_FAILED: Error: a',
      'ZYQ_JOB_FAILED: Error: b',
    ])
  }
  await sleep(0)
  expect(unhandled).toEqual([])
})

test('a reason that is not a string discards or rejects the job', () => {
  for (const [item, make] of Object.entries(thrownValues)) {
    const reason = make()
    for (const Signal of [Discard, Reject]) {
      const signal: unknown = Reflect.construct(Signal, [reason])
      expect([item, signal instanceof Signal]).toEqual([item, true])
    }
  }
})
