import { expect, test } from 'vitest'
import { Notifier } from '../src/adapter/notifier.ts'

const FOR_EVER = 2 ** 31 - 1

test('a ring ends the wait, also one that came before it, and each ends one', async () => {
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

test('without a ring the wait ends by itself', async () => {
  await new Notifier().wait(1)
})
