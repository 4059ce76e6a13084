import { expect, test } from 'vitest'
import { SharedLock } from '../src/shared-lock.ts'
import { waitFor } from '../src/wait-for.ts'

const TIMEOUT_MS = 30_000

/** Runs that log their start and end. Each ends when `end(name)` is called. */
function runs(): { readonly log: string[]; run(name: string): () => Promise<void>; end(name: string): void } {
  const log: string[] = []
  const ends = new Map<string, () => void>()
  return {
    log,
    run: (name) => () => {
      log.push(`+${name}`)
      return new Promise((resolve) => {
        ends.set(name, () => {
          log.push(`-${name}`)
          resolve()
        })
      })
    },
    end: (name) => ends.get(name)?.(),
  }
}

test('shared runs are concurrent, and an exclusive run and shared runs wait for each other', async () => {
  const { log, run, end } = runs()
  const lock = new SharedLock()
  const [a, b] = [lock.runShared(run('a')), lock.runShared(run('b'))]
  const alone = lock.runExclusive(run('alone'))
  const c = lock.runShared(run('c'))
  await waitFor('both to begin', () => log.length === 2, TIMEOUT_MS)
  end('a')
  await a
  end('b')
  await b
  await waitFor('the exclusive run to begin', () => log.length === 5, TIMEOUT_MS)
  end('alone')
  await alone
  await waitFor('the last run to begin', () => log.length === 7, TIMEOUT_MS)
  end('c')
  await c
  expect(log).toEqual(['+a', '+b', '-a', '-b', '+alone', '-alone', '+c', '-c'])
})

test('a run that fails blocks no other', async () => {
  const lock = new SharedLock()
  const fail = async (): Promise<void> => Promise.reject(new Error('expected by this test'))
  const failing = [lock.runShared(fail), lock.runExclusive(fail), lock.runExclusive(fail), lock.runShared(fail)]
  expect((await Promise.allSettled(failing)).map(({ status }) => status)).toEqual(Array(4).fill('rejected'))
  await lock.runExclusive(async () => undefined)
})
