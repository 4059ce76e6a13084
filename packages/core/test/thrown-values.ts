import { runInNewContext } from 'node:vm'

function fail(): never {
  throw new Error('do not touch')
}

function withGetter(key: PropertyKey, holder: object = new Error('has a getter')): object {
  return Object.defineProperty(holder, key, { get: fail })
}

function withValue(key: string, value: unknown): Error {
  return Object.defineProperty(new Error('has a value'), key, { value })
}

function revoked(): object {
  const { proxy, revoke } = Proxy.revocable({}, {})
  revoke()
  return proxy
}

function circular(): object {
  const holder: Record<string, unknown> = {}
  holder['self'] = holder
  return holder
}

function causeCycle(): Error {
  const [first, second] = [new Error('first'), new Error('second')]
  first.cause = second
  second.cause = first
  return first
}

function nested(levels: number): object {
  let value: object = {}
  for (let level = 0; level < levels; level++) value = { value }
  return value
}

class Failure {
  readonly reason = 'a class of the user'
}

class Unprintable extends Error {
  override toString(): string {
    return fail()
  }
}

const hostile: ProxyHandler<object> = {
  get: fail,
  has: fail,
  getPrototypeOf: fail,
  ownKeys: fail,
  getOwnPropertyDescriptor: fail,
}

/** Values that JavaScript can throw, created for each use. */
export const thrownValues: Readonly<Record<string, () => unknown>> = {
  undefined: () => undefined,
  null: () => null,
  'a boolean': () => false,
  'a number': () => Number.NaN,
  'a text': () => 'plain text',
  'an empty text': () => '',
  'a text of several lines': () => 'one\ntwo\r\n\u2028three',
  'half a surrogate pair': () => '\ud800',
  'a symbol': () => Symbol('odd'),
  'a BigInt': () => 10n,
  'a function': () => fail,
  'a function with a toJSON that throws': () => Object.assign(() => {}, { toJSON: fail }),
  'an array': () => [1, 10n, Symbol('odd')],
  'a date that is none': () => new Date(Number.NaN),
  'a map': () => new Map([['key', 10n]]),
  'a promise': () => Promise.resolve(1),
  'an object without a prototype': () => Object.create(null),
  'an object that looks like an error': () => ({ message: 'looks like one', code: 'E_ODD' }),
  'an object that holds itself': circular,
  'an object with a getter that throws': () => ({ get broken() { return fail() } }), // prettier-ignore
  'an object with a toString that throws': () => ({ toString: fail }),
  'an object with a toJSON that throws': () => ({ toJSON: fail }),
  'an object that becomes no primitive': () => ({ [Symbol.toPrimitive]: () => ({}) }),
  'an object with a then that throws': () => withGetter('then', {}),
  'an object of many levels': () => nested(20_000),
  'an instance of a class': () => new Failure(),
  'a proxy of an error': () => new Proxy(new Error('behind a proxy'), {}),
  'a proxy that throws at any touch': () => new Proxy({}, hostile),
  'a revoked proxy': revoked,
  'an error without a message': () => new Error(),
  'a frozen error': () => Object.freeze(new TypeError('frozen')),
  'an error of another realm': () => runInNewContext('new RangeError("another realm")'),
  'an error whose stack throws': () => withGetter('stack'),
  'an error whose message throws': () => withGetter('message'),
  'an error whose name throws': () => withGetter('name'),
  'an error whose code throws': () => withGetter('code'),
  'an error whose cause throws': () => withGetter('cause'),
  'an error whose toJSON throws': () => withGetter('toJSON'),
  'an error whose tag throws': () => withGetter(Symbol.toStringTag),
  'an error whose message is a symbol': () => withValue('message', Symbol('odd')),
  'an error whose message is an object': () => withValue('message', { toString: fail }),
  'an error whose stack is a symbol': () => withValue('stack', Symbol('odd')),
  'an error whose name is a BigInt': () => withValue('name', 1n),
  'an error that cannot be printed': () => new Unprintable('unprintable'),
  'an error with a cause that leads back': causeCycle,
  'an error with a revoked cause': () => new Error('outer', { cause: revoked() }),
  'an error of many lines': () => new Error('line\n'.repeat(10_000)),
  'a huge error': () => new Error('x'.repeat(5_000_000)),
  'an error with a long run of blanks': () => new Error(`a${' '.repeat(80_000)}b`),
  'an AggregateError': () => new AggregateError([new Error('one'), 10n, revoked()], 'several'),
  'a DOMException': () => new DOMException('aborted', 'AbortError'),
  'an error without a prototype': () => Object.setPrototypeOf(new Error('bare'), null),
}
