import { expect, test } from 'vitest'
import { Notifier } from '../../src/adapter/notifier.ts'

const FOR_EVER = 2 ** 31 - 1

test('a notification ends the pending wait', async () => {
  const notifier = new Notifier()
  const waiting = notifier.wait(FOR_EVER)
  notifier.notify()
  await waiting
})

test('a notification before the wait ends one wait, also if there were two', async () => {
  const notifier = new Notifier()
  notifier.notify()
  notifier.notify()
  await notifier.wait(FOR_EVER)
  let ended = false
  const waiting = notifier.wait(FOR_EVER).then(() => (ended = true))
  await new Promise(setImmediate)
  expect(ended).toBe(false)
  notifier.notify()
  await waiting
})

test('a notification that ended a wait does not end the next one', async () => {
  const notifier = new Notifier()
  const first = notifier.wait(FOR_EVER)
  notifier.notify()
  await first
  let ended = false
  const second = notifier.wait(FOR_EVER).then(() => (ended = true))
  await new Promise(setImmediate)
  expect(ended).toBe(false)
  notifier.notify()
  await second
})

test('without a notification the wait ends after its time', async () => {
  await new Notifier().wait(1)
})
