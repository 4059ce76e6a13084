import { describe, expect, test } from 'vitest'
import { findingsOfVersion, forgetsNewQueues } from '../../src/connection/versions.ts'

describe('what has to be known of a version', () => {
  const told = (version: string): readonly string[] =>
    findingsOfVersion(version).map(({ level, message }) => {
      const what = /too old|consumer_timeout/.exec(message)?.[0]
      return `${level}: ${what}`
    })

  test.each([
    ['3.9.29', ['problem: too old']],
    ['3.10.8', ['warning: consumer_timeout']],
    ['3.12.14', []],
    ['4.1', []],
  ])('%s', (version, findings) => {
    expect(told(version)).toEqual(findings)
  })

  test.each([
    ['3.10.8', true],
    ['3.13.5', true],
    ['3.13.6', false],
    ['3.13.10+1.g0', false],
    ['4.0.0-rc.1', false],
    ['4.1', false],
  ])('%s forgets new queues: %s', (version, forgets) => {
    expect(forgetsNewQueues(version)).toBe(forgets)
  })
})
