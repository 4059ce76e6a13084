import { connect } from 'node:net'
import { once } from 'node:events'
import { expect, test } from 'vitest'
import { errorCodeFrom } from '../../src/adapter/error-code-from.ts'
import { BrokerError } from '../../src/errors.ts'
import { thrownValues } from '../thrown-values.ts'

const errorCode = errorCodeFrom((error) => (error instanceof RangeError ? 'ZYQ_BROKER_FULL' : undefined))

test('an error of the engine has the code that the adapter gives it', () => {
  expect(errorCode(new RangeError('full'))).toBe('ZYQ_BROKER_FULL')
  expect(errorCode(new TypeError('other'))).toBe('ZYQ_BROKER')
})

test('a BrokerError keeps its code', () => {
  expect(errorCodeFrom(() => 'ZYQ_AUTH')(new BrokerError('ZYQ_CLOSED', 'closed'))).toBe('ZYQ_CLOSED')
})

test('a connection that is refused is unreachable, also if each address of the host refused', async () => {
  const [error] = await once(connect({ host: '127.0.0.1', port: 1 }), 'error').catch((reason: unknown) => [reason])
  expect(errorCode(error)).toBe('ZYQ_UNREACHABLE')
  expect(errorCode(new AggregateError([error, new Error('other')]))).toBe('ZYQ_UNREACHABLE')
  expect(errorCode(new AggregateError([]))).toBe('ZYQ_BROKER')
})

test('an adapter can replace the code of a system error', () => {
  const refused = Object.assign(new Error('connect ECONNREFUSED'), { code: 'ECONNREFUSED' })
  expect(errorCodeFrom(() => undefined, { ECONNREFUSED: 'ZYQ_CONNECTION_LOST' })(refused)).toBe('ZYQ_CONNECTION_LOST')
})

test.each(Object.entries(thrownValues))('no value makes it throw: %s', (_, make) => {
  const value = make()
  expect(errorCode(value)).toMatch(/^ZYQ_/)
  const broken = errorCodeFrom(() => {
    throw value
  })
  expect(broken(value)).toMatch(/^ZYQ_/)
})
