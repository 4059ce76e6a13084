import { expect, test } from 'vitest'
import { silentLogger } from '../../src/logger.ts'
import { NO_HEADERS, withHeaders } from '../../src/messages/envelope.ts'
import { encodeFailure, readFailure } from '../../src/messages/failure.ts'
import { Task } from '../../src/tasks/task.ts'
import { Execution } from '../../src/worker/execution.ts'
import type { Job } from '../../src/worker/job.ts'
import { thrownValues } from '../thrown-values.ts'

const read = (text: string) => readFailure({ 'zyq-failure': text })

async function outcomeOf(run: (job: Job) => unknown, headers: Record<string, string> = {}, queue = 't') {
  const task = new Task('t', { retries: 0 }, { run: (_worker, job) => run(job) })
  const execution = new Execution([task], { id: 'w', name: 'w', log: silentLogger }, [])
  const body = Buffer.from('1')
  const given = withHeaders(NO_HEADERS, headers)
  const opened = execution.open({ id: 'j', queue, body, headers: given, priority: 4, deliveryCount: 0 })
  return 'outcome' in opened ? opened.outcome : execution.run(opened)
}

test('a dead letter keeps task, attempts, stack and causes, and the requeued job runs without them', async () => {
  const fail = () => {
    throw Object.assign(new TypeError('näin\n', { cause: new Error('refused') }), { code: 'E_X', token: 'sesame' })
  }
  const dead = await outcomeOf(fail, { 'zyq-attempts': '2', tenant: 'a' })
  const headers = 'headers' in dead ? (dead.headers ?? {}) : {}
  expect(readFailure(headers)).toEqual({
    task: 't',
    attempts: 3,
    error: {
      type: 'TypeError',
      code: 'E_X',
      message: 'näin\n',
      stack: expect.stringContaining('failure.test'),
      cause: { type: 'Error', message: 'refused', stack: expect.stringContaining('failure.test') },
    },
  })
  expect(headers['zyq-failure']).not.toContain('sesame')
  let seen: object | undefined
  await outcomeOf((job) => {
    seen = { ...job.headers }
  }, headers)
  expect(seen).toEqual({ tenant: 'a' })
})

test('a refused job keeps its attempts, and its task if the worker knows it', async () => {
  const refused = await outcomeOf(() => {}, { 'zyq-attempts': '2' }, 'unknown')
  expect('headers' in refused && readFailure(refused.headers ?? {})).toEqual({ attempts: 2 })
})

test('any failure is a short header in ASCII, and can be read', () => {
  let error = new Error('ü'.repeat(100_000))
  for (let level = 0; level < 100; level++) error = new Error('日本\n'.repeat(10_000), { cause: error })
  for (const thrown of [...Object.values(thrownValues).map((make) => make()), error]) {
    const text = encodeFailure('日本', 3, { error: thrown })
    expect(text).toMatch(/^[\x20-\x7e]{1,4096}$/)
    expect(read(text)).toMatchObject({ task: '日本', attempts: 3, error: expect.anything() })
  }
  expect(encodeFailure('日'.repeat(2_000), 3).length).toBeLessThanOrEqual(4_096)
})

test('a header of another version or of another program is not read', () => {
  for (const text of ['', '{}', '[', 'null', '{"v":2,"attempts":1}', '{"v":1}']) expect(read(text)).toBeUndefined()
  expect(readFailure({})).toBeUndefined()
})
