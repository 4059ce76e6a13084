import { afterEach, expect, test } from 'vitest'
import { producers } from '../../src/producer/producers.ts'
import { Task } from '../../src/tasks/task.ts'
import { scripted, uniqueName, type Script } from '../support.ts'

afterEach(() => producers.close())

/** A task and the messages that its broker receives. */
function recorded(script: Script = {}) {
  const messages: { delayMs: number; headers: Readonly<Record<string, string>> }[] = []
  const broker = scripted({
    publish: (real, batch) => {
      messages.push(...batch)
      return real.publish(batch)
    },
    ...script,
  })
  return { task: new Task<number>(uniqueName(), { server: broker }), messages }
}

test('readyAtMs is an instant as a number or a Date; one that has passed means now', async () => {
  const { task, messages } = recorded()
  const inAMinute = Date.now() + 60_000
  await task.submit(1, { readyAtMs: inAMinute })
  await task.submit(2, { readyAtMs: new Date(inAMinute) })
  await task.submit(3, { readyAtMs: 5 })
  const [number, date, past] = messages.map(({ delayMs }) => delayMs)
  for (const delayMs of [number, date]) {
    expect(delayMs).toSatisfy((ms: number) => Number.isInteger(ms) && ms > 0 && ms <= 60_000)
  }
  expect(past).toBe(0)
})

test('expiresMs counts from the submit of each job', async () => {
  const { task, messages } = recorded()
  const before = Date.now()
  let second = 0
  await task.submitMany(
    (function* () {
      yield 1
      while (Date.now() < before + 20);
      second = Date.now()
      yield 2
    })(),
    { expiresMs: 1_000, headers: { tenant: 'a' } },
  )
  const after = Date.now()
  const [first = 0, next = 0] = messages.map(({ headers }) => Number(headers['zyq-expires-at']))
  expect(first).toSatisfy((ms: number) => ms >= before + 1_000 && ms < second + 1_000)
  expect(next).toSatisfy((ms: number) => ms >= second + 1_000 && ms <= after + 1_000)
  expect(messages[0]?.headers).toMatchObject({ tenant: 'a' })
})

test.each([
  [{ readyAtMs: 5n }, 'readyAtMs: expected an instant'],
  [{ readyAtMs: new Date('?') }, 'readyAtMs: expected an instant'],
  [{ readyAtMs: 9e15 }, 'readyAtMs: the instant is more than ten years from now'],
  [{ readyAtMs: 5, delayMs: 5 }, 'readyAtMs: give either delayMs or readyAtMs'],
  [{ expiresMs: 0 }, 'expiresMs'],
  [{ expiresMs: new Date() }, 'expiresMs'],
  [{ expiresMs: 1_000, delayMs: 1_000 }, 'expiresMs: the job would expire before it is ready'],
  [{ expiresMs: 1_000, readyAtMs: Date.now() + 60_000 }, 'expiresMs: the job would expire before it is ready'],
])('refuses %o', async (options, fault) => {
  const { task, messages } = recorded()
  const submitting = Reflect.apply(task.submit, task, [1, options])
  await expect(submitting).rejects.toMatchObject({ code: 'ZYQ_CONFIG', message: expect.stringContaining(fault) })
  expect(messages).toEqual([])
})

test('a broker without delays refuses readyAtMs', async () => {
  const { task } = recorded({ capabilities: { delay: 'none' } })
  const message = expect.stringContaining('`readyAtMs`')
  await expect(task.submit(1, { readyAtMs: new Date() })).rejects.toMatchObject({ code: 'ZYQ_UNSUPPORTED', message })
})
