import { runInNewContext } from 'node:vm'
import fc from 'fast-check'
import { expect, onTestFinished, test, vi } from 'vitest'
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

test('a text, an error, or fields and a text are one line', () => {
  const { lines, logger } = written()
  logger.info('ready')
  logger.error(new BrokerError('ZYQ_AUTH', 'no', { cause: new Error('refused') }))
  logger.error(new Error('no'), 'cannot log in')
  logger.info({ port: 80 })
  const info = { level: 'info', time: expect.any(Number) }
  const error = { level: 'error', time: expect.any(Number) }
  const cause = { type: 'Error', message: 'refused', stack: expect.stringContaining('logger.test') }
  const own = { type: 'BrokerError', code: 'ZYQ_AUTH', message: 'no', stack: expect.stringContaining('at ') }
  expect(lines.map((line): unknown => JSON.parse(line))).toEqual([
    { ...info, msg: 'ready' },
    { ...error, err: { ...own, cause }, msg: 'no' },
    { ...error, err: { type: 'Error', message: 'no', stack: expect.any(String) }, msg: 'cannot log in' },
    { ...info, port: 80, msg: '' },
  ])
})

test('pretty: an error has its stack, its code and its causes, also of an AggregateError', () => {
  const { lines, logger } = written({ format: 'pretty' })
  const refused = Object.assign(new Error('connect ECONNREFUSED'), { code: 'ECONNREFUSED' })
  logger.error(new Error('no answer', { cause: new AggregateError([refused], 'all failed') }))
  expect(lines.join('')).toMatch(
    /^\S+ error no answer\n {4}Error: no answer\n {8}at .*(\n {8}at .*)*\n {4}cause: AggregateError: all failed\n {8}at /,
  )
  expect(lines.join('')).toMatch(/\n {4}error: Error: connect ECONNREFUSED\n/)
  logger.warn({ err: new Error('no answer', { cause: refused }) }, 'retrying')
  expect(lines[1]).toMatch(/ warn {2}retrying no answer \(cause: connect ECONNREFUSED\)\n$/)
  logger.warn({ err: new Error('failed: connect ECONNREFUSED', { cause: refused }) }, 'retrying')
  expect(lines[2]).toMatch(/ warn {2}retrying failed: connect ECONNREFUSED\n$/)
})

/** As errors of HTTP clients, whose request has a token. */
function withSecrets(message: string): Error {
  const secrets = { config: { headers: { Authorization: 'Bearer sesame' } }, request: 'sesame', response: ['sesame'] }
  return Object.assign(new Error(message), secrets, {
    code: 'ERR_BAD_REQUEST',
    toJSON: () => ({ message, ...secrets }),
  })
}

test.each(['json', 'pretty'] as const)(
  '%s: an error is logged by its own fields only, and its causes are too',
  (format) => {
    const { lines, logger } = written({ format })
    const rest = Object.assign({}, withSecrets('x'))
    for (const error of [
      withSecrets('outer'),
      new Error('outer', { cause: withSecrets('inner') }),
      new Error('outer', { cause: Object.assign({}, rest, { message: 'inner' }) }),
      new Error('outer', { cause: rest }),
      new AggregateError([withSecrets('inner')], 'outer'),
    ]) {
      logger.error(error)
      logger.error({ err: error, nested: { error } }, 'outer')
      logger.warn(error)
    }
    expect(lines).toHaveLength(15)
    expect(lines.join('')).not.toContain('sesame')
    expect(lines.join('')).toContain('inner')
  },
)

test('an error with many causes and long texts is a short line', () => {
  const { lines, logger } = written()
  let error = new Error('x'.repeat(100_000))
  for (let level = 0; level < 1_000; level++) error = new Error('x'.repeat(10_000), { cause: error })
  logger.error(error)
  logger.error(new AggregateError(Array.from({ length: 1_000 }, () => error)))
  for (const line of lines) expect(line.length).toBeLessThan(50_000)
})

test('a field never replaces a field of the logger or of its parents', () => {
  const { lines, logger } = written()
  const log = logger.child({ task: 'resize', job: '1' }).child({ job: '2', step: 1 })
  log.info({ job: '1', task: 'mine', step: 2, level: 'x', time: 'y', msg: 'z', ['__proto__']: { a: 1 } }, 'm')
  const { time, ...line } = JSON.parse(lines[0] ?? '')
  expect(time).toEqual(expect.any(Number))
  const own = { level: 'info', task: 'resize', job: '1', step: 1, msg: 'm' }
  const renamed = { job_: '2', task_: 'mine', step_: 2, level_: 'x', time_: 'y', msg_: 'z' }
  const expected = new Map<string, unknown>([...Object.entries({ ...own, ...renamed }), ['__proto__', { a: 1 }]])
  expect(new Map(Object.entries(line))).toEqual(expected)
})

const FORGED = 'a\u001b]0;title\u0007\u009b31m\n12:00:00 info  forged\r\u2028\u202e'

test('control characters in texts, fields and errors are escaped, and no text can look like a line', () => {
  const log = (format: 'json' | 'pretty'): string => {
    const { lines, logger } = written({ format })
    logger.info(FORGED)
    logger.child({ [FORGED]: FORGED, list: [FORGED] }).info({ a: FORGED }, 'm')
    logger.error(Object.assign(new Error(FORGED, { cause: new Error(FORGED) }), { stack: FORGED, code: FORGED }))
    logger.error({ err: FORGED })
    return lines.join('')
  }
  const pretty = log('pretty')
  expect(pretty).not.toMatch(/[^\P{Cc}\n]|[\u2028\u202e]/u)
  expect(pretty).not.toMatch(/^12:00:00 info {2}forged/m)
  expect(pretty).toContain('a\\u001b]0;title\\u0007\\u009b31m\\n12:00:00 info  forged\\r\\u2028\\u202e')
  const json = log('json')
  expect(json).not.toMatch(/[^\P{Cc}\n]|[\u2028\u202e]/u)
  const lines = json.trimEnd().split('\n')
  expect(lines.map((line): unknown => JSON.parse(line).msg)).toEqual([FORGED, 'm', expect.any(String), ''])
  expect(JSON.parse(lines[1] ?? '')).toMatchObject({ [FORGED]: FORGED, list: [FORGED], a: FORGED })
})

test.each([
  { isTTY: true, env: {}, coloured: true },
  { isTTY: false, env: {}, coloured: false },
  { isTTY: true, env: { NO_COLOR: '1' }, coloured: false },
  { isTTY: true, env: { NO_COLOR: '' }, coloured: true },
  { isTTY: true, env: { TERM: 'dumb' }, coloured: false },
  { isTTY: false, env: { FORCE_COLOR: '1' }, coloured: true },
  { isTTY: true, env: { FORCE_COLOR: '0' }, coloured: false },
  { isTTY: true, env: { FORCE_COLOR: '1', NO_COLOR: '1' }, coloured: true },
])('pretty: colours %o', ({ isTTY, env, coloured }) => {
  for (const name of ['NO_COLOR', 'FORCE_COLOR', 'TERM']) vi.stubEnv(name, undefined)
  for (const [name, value] of Object.entries(env)) vi.stubEnv(name, value)
  onTestFinished(() => void vi.unstubAllEnvs())
  const lines: string[] = []
  createLogger({ format: 'pretty', destination: { isTTY, write: (text) => lines.push(text) } }).info({ a: 1 }, 'm')
  expect(lines[0]?.includes('\u001b[')).toBe(coloured)
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
    const names = ['debug', 'info', 'warn', 'error'] as const
    for (const name of names) logger[name]({}, name)
    const count = 4 - LOG_LEVELS.indexOf(level)
    expect(lines).toHaveLength(count)
    expect(names.filter((name) => logger.isLevelEnabled(name))).toHaveLength(count)
  }
})

test('is pretty on a terminal only', () => {
  for (const isTTY of [true, false]) {
    const lines: string[] = []
    createLogger({ destination: { isTTY, write: (text) => lines.push(text) } }).info({ jobs: 3 }, 'hello')
    expect(lines[0]?.startsWith('{')).toBe(!isTTY)
  }
})
