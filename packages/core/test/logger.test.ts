import { runInNewContext } from 'node:vm'
import fc from 'fast-check'
import { expect, test } from 'vitest'
import { BrokerError } from '../src/errors.ts'
import { createLogger, LOG_LEVELS, safeLogger } from '../src/logger.ts'

function written(options: Parameters<typeof createLogger>[0] = {}) {
  const lines: string[] = []
  return { lines, logger: createLogger({ ...options, destination: { write: (text) => lines.push(text) } }) }
}

test('writes one object per line', () => {
  const { lines, logger } = written()
  logger.child({ worker: 'w' }).warn({ jobs: 3 }, 'careful')
  expect(JSON.parse(lines[0] ?? '')).toEqual({
    level: 'warn',
    time: expect.any(Number),
    worker: 'w',
    jobs: 3,
    msg: 'careful',
  })
})

test('writes errors out, with code and cause', () => {
  const { lines, logger } = written()
  logger.error({ err: new BrokerError('ZYQ_AUTH', 'no', { cause: new Error('refused') }) }, 'x')
  expect(JSON.parse(lines[0] ?? '').err).toMatchObject({
    type: 'BrokerError',
    code: 'ZYQ_AUTH',
    message: 'no',
    cause: { type: 'Error', message: 'refused' },
  })
})

test.each(['json', 'pretty'] as const)('%s: nothing that is logged throws', (format) => {
  const { lines, logger } = written({ format })
  const cyclic: { self?: unknown; twice?: unknown } = {}
  cyclic.self = cyclic
  const shared = { a: 1 }
  const error = new Error('loop')
  error.cause = error
  const getter = { get broken() { throw new Error('no') } } // prettier-ignore
  for (const fields of [{ cyclic }, { big: 10n }, { error, err: error }, { a: shared, b: shared }, { getter }]) {
    logger.error(fields, 'still there')
  }
  expect(lines).toHaveLength(5)
  expect(lines[0]).toContain('[circular]')
  expect(lines[1]).toContain('10')
  expect(lines[3]).not.toContain('[circular]')
  fc.assert(
    fc.property(fc.anything({ withBigInt: true, withNullPrototype: true }), (value) => {
      logger.error({ value }, 'any')
    }),
  )
})

test('shared objects do not make a huge line', () => {
  const { lines, logger } = written()
  let value: object = { end: 1 }
  for (let level = 0; level < 30; level++) value = { a: value, b: value }
  logger.info({ value }, 'still there')
  expect(lines[0]?.length).toBeLessThan(1_000_000)
  expect(JSON.parse(lines[0] ?? '')).toMatchObject({ msg: 'still there' })
  expect(lines[0]).toContain('[too large]')
})

test('a logger is wrapped once, and a rejected promise that it returns is handled', () => {
  const { logger } = written()
  expect(safeLogger(logger)).toBe(logger)
  let calls = 0
  const safe = safeLogger({
    ...logger,
    // A promise of another realm is not an instance of this realm's Promise. Unhandled, it would end the process.
    warn: () => (calls++, runInNewContext('Promise.reject(new Error("cannot write"))')),
  })
  safe.warn({})
  expect(calls).toBe(1)
})

test('writes nothing below its level', () => {
  for (const level of LOG_LEVELS) {
    const { lines, logger } = written({ level })
    for (const name of ['debug', 'info', 'warn', 'error'] as const) logger[name]({}, name)
    expect(lines).toHaveLength(4 - LOG_LEVELS.indexOf(level))
  }
})

test('is pretty on a terminal only', () => {
  for (const isTTY of [true, false]) {
    const lines: string[] = []
    createLogger({ destination: { isTTY, write: (text) => lines.push(text) } }).info({ jobs: 3 }, 'hello')
    expect(lines[0]?.startsWith('{')).toBe(!isTTY)
  }
})
