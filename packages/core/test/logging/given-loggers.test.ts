import { Writable } from 'node:stream'
import { pino } from 'pino'
import { expect, test } from 'vitest'
import winston from 'winston'
import { safeLogger, type LoggerLike } from '../../src/logger.ts'

function pinoOn(lines: string[]): LoggerLike {
  return pino({ level: 'info' }, { write: (line: string) => void lines.push(line) })
}

function winstonOn(lines: string[]): LoggerLike {
  const stream = new Writable({
    write(chunk, _encoding, done) {
      lines.push(String(chunk))
      done()
    },
  })
  return winston.createLogger({ level: 'info', transports: [new winston.transports.Stream({ stream })] })
}

test.each([
  ['pino', pinoOn, 'msg'],
  ['winston', winstonOn, 'message'],
] as const)('%s writes texts, fields and errors, with the fields of the job', (_, create, text) => {
  const lines: string[] = []
  const log = safeLogger(create(lines)).child({ task: 'resize', job: '1' })
  log.info('ready')
  log.info({ job: 'mine', a: 1 }, 'm')
  log.error(new TypeError('no answer', { cause: new Error('refused') }))
  log.debug('below the level')
  const job = { task: 'resize', job: '1' }
  expect(lines.map((line): unknown => JSON.parse(line))).toMatchObject([
    { ...job, [text]: 'ready' },
    { ...job, job_: 'mine', a: 1, [text]: 'm' },
    { ...job, err: { type: 'TypeError', stack: expect.stringMatching(/given-loggers/) }, [text]: 'no answer' },
  ])
  expect(lines[2]).toContain('refused')
  expect([log.isLevelEnabled('debug'), log.isLevelEnabled('info')]).toEqual([false, true])
})

test('winston keeps its level and message', () => {
  const lines: string[] = []
  safeLogger(winstonOn(lines)).info({ level: 'x', message: 'y' }, 'm')
  expect(JSON.parse(lines[0] ?? '')).toEqual({ level: 'info', message: 'm', level_: 'x', message_: 'y' })
})

test.each([undefined, null, 'pino', {}, { info() {} }, { debug: 1, info: 1, warn: 1, error: 1 }])(
  'a value without the four methods is refused: %o',
  (value) => {
    const make = (): unknown => Reflect.apply(safeLogger, undefined, [value])
    expect(make).toThrow(
      expect.objectContaining({ code: 'ZYQ_CONFIG', message: expect.stringContaining('debug, info') }),
    )
  },
)
