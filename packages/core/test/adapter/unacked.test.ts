import fc from 'fast-check'
import { expect, test } from 'vitest'
import { Unacked } from '../../src/adapter/unacked.ts'
import { deliveryOf } from './deliveries.ts'

const DELIVERIES = Array.from({ length: 4 }, (_, index) => deliveryOf(`job ${index}`))

test('any sequence of calls leaves each delivery unknown, held or settling as documented', () => {
  const step = fc.record({
    call: fc.constantFrom('add', 'take', 'putBack', 'delete', 'clear'),
    index: fc.nat(DELIVERIES.length - 1),
  })
  fc.assert(
    fc.property(fc.array(step), (steps) => {
      const unacked = new Unacked<number>()
      const model = new Map<number, 'held' | 'settling'>()
      for (const { call, index } of steps) {
        const delivery = DELIVERIES[index] ?? deliveryOf('none')
        if (call === 'add') {
          unacked.add(delivery, index)
          model.set(index, 'held')
        } else if (call === 'take') {
          expect(unacked.take(delivery)).toBe(model.get(index) === 'held' ? index : undefined)
          if (model.has(index)) model.set(index, 'settling')
        } else if (call === 'putBack') {
          unacked.putBack(delivery)
          if (model.has(index)) model.set(index, 'held')
        } else if (call === 'delete') {
          unacked.delete(delivery)
          model.delete(index)
        } else {
          unacked.clear()
          model.clear()
        }
        expect(unacked.size).toBe(model.size)
        expect(new Set([...unacked].map(([, held]) => held))).toEqual(new Set(model.keys()))
        for (const [other, known] of DELIVERIES.entries()) {
          expect(unacked.get(known)).toBe(model.has(other) ? other : undefined)
        }
      }
    }),
  )
})

test('another object with the same id is another delivery', () => {
  const unacked = new Unacked<string>()
  unacked.add(deliveryOf('job'), 'held')
  expect(unacked.take(deliveryOf('job'))).toBeUndefined()
})
