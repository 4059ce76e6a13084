import { expect, test } from 'vitest'
import { Bell } from '../src/broker/bell.ts'

const FOR_EVER = 2 ** 31 - 1

test('a ring ends the wait, also one that came before it, and each ends one', async () => {
  const bell = new Bell()
  bell.ring()
  bell.ring()
  await bell.wait(FOR_EVER)
  let ended = false
  const waiting = bell.wait(FOR_EVER).then(() => (ended = true))
  await new Promise(setImmediate)
  expect(ended).toBe(false)
  bell.ring()
  await waiting
})

test('without a ring the wait ends by itself', async () => {
  await new Bell().wait(1)
})
