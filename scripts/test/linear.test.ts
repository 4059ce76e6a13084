import { join } from 'node:path'
import { pathToFileURL } from 'node:url'
import { createLogger } from '@zyqueue/core'
import { expect, test } from 'vitest'
import { root } from '../packages.js'

/** Texts that are slow for expressions that can match the same characters in two ways. */
const texts: Readonly<Record<string, (length: number) => string>> = {
  blanks: (length) => `a${' '.repeat(length)}b`,
  'lines of blanks': (length) => `a${' \n\t'.repeat(length / 3)}b`,
  'carriage returns': (length) => `a${'\r'.repeat(length)}b`,
  letters: (length) => 'a'.repeat(length),
  digits: (length) => `${'1'.repeat(length)}x`,
  'words that look secret': (length) => 'key'.repeat(length / 3),
  'parameters that look secret': (length) => '?key'.repeat(length / 4),
  'secrets in a list': (length) => ';key='.repeat(length / 5),
  'secrets with blanks': (length) => `;key${' '.repeat(length)};`,
  'open quotes': (length) => `;key="'`.repeat(length / 7),
  colons: (length) => ':'.repeat(length),
  slashes: (length) => `https:${'/'.repeat(length)}`,
  'slashes and colons': (length) => `https://${'//:'.repeat(length / 3)}`,
  'the @ of a user': (length) => `redis://${'@/'.repeat(length / 2)}#`,
  'users and passwords': (length) => `amqp://${'a:b@'.repeat(length / 4)}#`,
  'ports of hosts': (length) => `amqp://${'h:1,'.repeat(length / 4)}#`,
  'lines of a stack': (length) => `c:\\${':1'.repeat(length / 2)}:`,
  dashes: (length) => '-'.repeat(length),
  brackets: (length) => '([{<"'.repeat(length / 5),
  'equals signs': (length) => 'a='.repeat(length / 2),
  'functions of a worker': (length) => `39 h ${' :'.repeat(length / 2)}\u2028`,
  'an error of gearmand': (length) => `ERR ${'x'.repeat(length)}\u2028`,
  'a code and a text': (length) => `ZYQ_${'A_'.repeat(length / 2)}:`,
  'numbers of a failure': (length) => `ConnectionFailed(${': 1'.repeat(length / 3)}`,
  'a reply of Redis': (length) => `MOVED ${'1'.repeat(length)} `,
  'a delayed function': (length) => `zyq:delayed:${'1:'.repeat(length / 2)}`,
}

type Reader = (text: string) => unknown

/** Imports a function of a package that may be private to it. */
async function inside(file: string, name: string): Promise<(...given: unknown[]) => unknown> {
  const module: unknown = await import(pathToFileURL(join(root, 'packages', file)).href)
  const found: unknown = typeof module === 'object' && module !== null ? Reflect.get(module, name) : undefined
  if (typeof found !== 'function') return expect.fail(`${file} exports no function ${name}`)
  return (...given) => Reflect.apply(found, undefined, given)
}

const messageOf = await inside('core/dist/errors.js', 'messageOf')
const errorHeader = await inside('core/dist/messages/envelope.js', 'errorHeader')
const countHeader = await inside('core/dist/messages/envelope.js', 'countHeader')
const decodeData = await inside('core/dist/messages/envelope.js', 'decodeData')
const schemeOf = await inside('core/dist/connection/scheme.js', 'schemeOf')
const checkName = await inside('core/dist/tasks/names.js', 'checkName')
const splitSubmitOptions = await inside('core/dist/tasks/options.js', 'splitSubmitOptions')
const redactText = await inside('cli/dist/redact.js', 'redactText')
const redactConnection = await inside('cli/dist/redact.js', 'redactConnection')
const fromLegacy = await inside('cli/dist/legacy.js', 'fromLegacy')
const quote = await inside('cli/dist/legacy.js', 'quote')
const splitShortOptions = await inside('cli/dist/options.js', 'splitShortOptions')
const parseDuration = await inside('cli/dist/units.js', 'parseDuration')
const suggest = await inside('core/dist/suggest.js', 'suggest')
const table = await inside('cli/dist/table.js', 'table')
const parseLocation = await inside('broker-sqlite/dist/options.js', 'parseLocation')
const sqliteCode = await inside('broker-sqlite/dist/errors.js', 'sqliteCode')
const parseDeployment = await inside('broker-redis/dist/options.js', 'parseDeployment')
const parseRabbit = await inside('broker-rabbitmq/dist/connection/address.js', 'parseAddress')
const openingError = await inside('broker-rabbitmq/dist/errors.js', 'openingError')
const parseGearman = await inside('broker-gearman/dist/options.js', 'parseAddresses')
const clientInfoOf = await inside('broker-gearman/dist/client-id.js', 'clientInfoOf')
const clientIdOf = await inside('broker-gearman/dist/client-id.js', 'clientIdOf')
const purposeOf = await inside('broker-gearman/dist/functions.js', 'purposeOf')
const workerOf = await inside('broker-gearman/dist/admin/admin.js', 'workerOf')

const json = createLogger({ format: 'json', destination: { write: () => {} } })
const pretty = createLogger({ format: 'pretty', destination: { write: () => {} } })

/** Every function that reads texts of other programs: errors, headers, connection strings, replies, command lines. */
const readers: Readonly<Record<string, Reader>> = {
  'the message of an error': (text) => messageOf(new Error(text)),
  'the error in a header': (text) => errorHeader(Object.assign(new Error(text), { name: text })),
  'a line of the log': (text) => json.error({ err: new Error(text), text }, text),
  'a line of the log for people': (text) => pretty.error({ err: new Error(text), text }, text),
  'a header that is a count': (text) => countHeader({ count: text }, 'count', 0),
  'a body': (text) => decodeData(Buffer.from(text)),
  'the scheme of a connection': (text) => schemeOf(text),
  'a name': (text) => checkName('queue', text),
  'the name of a header': (text) => splitSubmitOptions({ headers: { [text]: '' } }),
  'a text with secrets': (text) => redactText(text),
  'a connection with secrets': (text) => redactConnection(text),
  'flags of the original': (text) => fromLegacy([`--${text}`, text]),
  'arguments as typed': (text) => quote([text]),
  'options with their values': (text) => splitShortOptions([`-S${text}`]),
  'a duration': (text) => parseDuration(text),
  'a word that was mistyped': (text) => suggest(text, ['status', 'submit']),
  'a table': (text) => table([text], { name: (row: unknown) => row }),
  'a connection of SQLite': (text) => parseLocation({ connection: text, baseDir: '/' }),
  'an error of SQLite': (text) => sqliteCode(new Error(text)),
  'a connection of Redis': (text) => parseDeployment({ connection: text, baseDir: '/' }),
  'a connection of RabbitMQ': (text) => parseRabbit(text),
  'an error of RabbitMQ': (text) => openingError(new Error(text), 'h'),
  'a connection of Gearman': (text) => parseGearman(text),
  'the id of a Gearman client': (text) => clientInfoOf(text, 'h'),
  'a name in a Gearman id': (text) => clientIdOf({ name: text, host: text, pid: 1 }),
  'a function of Gearman': (text) => purposeOf(text),
  'a worker of Gearman': (text) => workerOf(text, { name: 's' }),
}

const LENGTH = 4_000
/** Shorter times are not compared. A quadratic function takes hundreds of times as long for the longer text. */
const LEAST_MS = 0.5
const MOST_TIMES = 24

/** CPU time of this process, in ms. */
function cpuMs(read: Reader, text: string): number {
  const before = process.cpuUsage()
  try {
    read(text)
  } catch {
    // It may refuse the text. That must not take long either.
  }
  const { user, system } = process.cpuUsage(before)
  return (user + system) / 1000
}

/** The ratio of the times for a text and one of eight times its length: the best of a few tries, because other threads use CPU too. */
function growth(read: Reader, make: (length: number) => string): number {
  let least = Number.POSITIVE_INFINITY
  for (let tries = 0; tries < 5 && least > MOST_TIMES; tries++) {
    const short = cpuMs(read, make(LENGTH))
    const long = cpuMs(read, make(8 * LENGTH))
    least = Math.min(least, long / Math.max(short, LEAST_MS))
  }
  return least
}

test.each(Object.entries(readers))('%s takes time in proportion to its length', (_, read) => {
  for (const [name, make] of Object.entries(texts)) {
    expect([name, growth(read, make) <= MOST_TIMES]).toEqual([name, true])
  }
})
