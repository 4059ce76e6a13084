import { expect, test } from 'vitest'
import { faultOf, refuseUnknownOptions } from '../../src/adapter/checks.ts'

const UNSUPPORTED = { code: 'ZYQ_UNSUPPORTED' }

test('known options pass, and no options', () => {
  refuseUnknownOptions('Acme', { copies: 1 }, ['copies'])
  refuseUnknownOptions('Acme', {})
  refuseUnknownOptions('Acme')
})

test('an unknown option is refused, and the error names it and the known ones', () => {
  const refused = (known?: readonly string[]) => () => refuseUnknownOptions('Acme', { copies: 1, size: 2 }, known)
  expect(refused(['copies'])).toThrow(
    expect.objectContaining({ ...UNSUPPORTED, message: 'The Acme broker has no option "size": it knows copies' }),
  )
  expect(refused()).toThrow(
    expect.objectContaining({
      ...UNSUPPORTED,
      message: 'The Acme broker has no option "copies": it has no options of its own',
    }),
  )
})

test('a misspelt option is answered with the one that was meant, of core or of the broker', () => {
  const refusing = (name: string) => () => refuseUnknownOptions('Acme', { [name]: 1 }, ['exchange'])
  expect(refusing('priorty')).toThrow('Did you mean "priority"?')
  expect(refusing('delayMS')).toThrow('Did you mean "delayMs"?')
  expect(refusing('exchnage')).toThrow('Did you mean "exchange"?')
  expect(refusing('colour')).toThrow(/it knows exchange$/)
})

test.each(['a', '\x21\x7e', 'x'.repeat(63)])('the id %j is valid', (id) => {
  expect(faultOf('Acme', { id, body: new Uint8Array(10) }, 10)).toBeUndefined()
})

test.each(['', 'x'.repeat(64), 'a b', 'ä', 'a\n'])('the id %j is refused', (id) => {
  expect(faultOf('Acme', { id, body: new Uint8Array() }, 10)).toMatchObject({ code: 'ZYQ_CONFIG' })
})

test('a body above the limit is refused with both sizes', () => {
  expect(faultOf('Acme', { id: 'job', body: new Uint8Array(11) }, 10)).toMatchObject({
    code: 'ZYQ_BODY_TOO_LARGE',
    message: 'The job has 11 bytes; the Acme broker takes 10',
  })
})
