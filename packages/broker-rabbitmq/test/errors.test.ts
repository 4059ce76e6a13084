import { describe, expect, test } from 'vitest'
import { errorCode } from '../src/errors.ts'
import { mismatch } from '../src/topology.ts'

describe('errors', () => {
  test('the server’s reply codes have codes of ours', () => {
    for (const [code, expected] of [
      [403, 'ZYQ_AUTH'],
      [404, 'ZYQ_QUEUE_NOT_FOUND'],
      [405, 'ZYQ_BROKER_BUSY'],
      [406, 'ZYQ_TOPOLOGY'],
      [320, 'ZYQ_CONNECTION_LOST'],
      ['ECONNREFUSED', 'ZYQ_UNREACHABLE'],
      [541, 'ZYQ_BROKER'],
    ] as const) {
      expect(errorCode(Object.assign(new Error('x'), { code }))).toBe(expected)
    }
  })

  test('a declaration that differs is told in words, in the forms of old and new servers', () => {
    for (const text of [
      `PRECONDITION_FAILED - inequivalent arg 'x-max-length' for queue 'a 'b'' in vhost '/': received '5' but current is '7'"`,
      `PRECONDITION_FAILED - inequivalent arg 'x-max-length' for queue 'a 'b'' in vhost '/': received the value '5' of type 'byte' but current is the value '7' of type 'long'"`,
    ]) {
      expect(mismatch(Object.assign(new Error(text), { code: 406 }))).toMatchObject({
        code: 'ZYQ_TOPOLOGY',
        message: `The queue "a 'b'" exists already and differs in x-max-length: asked for 5, it has 7`,
      })
    }
  })
})
