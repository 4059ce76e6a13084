import { describe, expect, test } from 'vitest'
import { errorCode, isRetryable, ServerError } from '../src/errors.ts'

describe('error codes', () => {
  test.each([
    ["OOM command not allowed when used memory > 'maxmemory'.", 'ZYQ_BROKER_FULL', false],
    ['READONLY You can not write against a read only replica.', 'ZYQ_CONNECTION_LOST', true],
    ['ERR Error running script (call to f_1): @user_script:3: -READONLY You can not', 'ZYQ_CONNECTION_LOST', true],
    ['WRONGPASS invalid username-password pair or user is disabled.', 'ZYQ_AUTH', false],
    ['NOAUTH Authentication required.', 'ZYQ_AUTH', false],
    ['ERR invalid password', 'ZYQ_AUTH', false],
    ['LOADING Redis is loading the dataset in memory', 'ZYQ_UNREACHABLE', true],
    ['CLUSTERDOWN The cluster is down', 'ZYQ_UNREACHABLE', true],
    ['BUSY Redis is busy running a script.', 'ZYQ_BROKER_BUSY', true],
    ['WRONGTYPE Operation against a key holding the wrong kind of value', 'ZYQ_STORAGE_FOREIGN', false],
    ['ERR anything', 'ZYQ_BROKER', false],
  ])('%s', (message, code, retryable) => {
    const error = new ServerError(message)
    expect(errorCode(error)).toBe(code)
    expect(isRetryable(error)).toBe(retryable)
  })

  test.each([
    [Object.assign(new Error('x'), { code: 'ECONNREFUSED' }), 'ZYQ_UNREACHABLE'],
    [Object.assign(new Error('x'), { code: 'ENOTFOUND' }), 'ZYQ_UNREACHABLE'],
    [Object.assign(new Error('x'), { code: 'DEPTH_ZERO_SELF_SIGNED_CERT' }), 'ZYQ_UNREACHABLE'],
    [Object.assign(new Error('x'), { code: 'toString' }), 'ZYQ_BROKER'],
    [new Error('anything'), 'ZYQ_BROKER'],
    [undefined, 'ZYQ_BROKER'],
  ])('%o', (error, code) => {
    expect(errorCode(error)).toBe(code)
  })
})
