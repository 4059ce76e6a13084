import fc from 'fast-check'
import { expect, test } from 'vitest'
import { Heap, type HeapItem } from '../../src/testing/heap.ts'

interface Item extends HeapItem {
  readonly rank: number
}

test('a heap behaves like a sorted list', () => {
  const step = fc.oneof(
    fc.record({ kind: fc.constant('push' as const), rank: fc.integer({ min: 0, max: 20 }) }),
    fc.record({ kind: fc.constant('shift' as const), rank: fc.constant(0) }),
    fc.record({ kind: fc.constant('remove' as const), rank: fc.nat() }),
  )
  fc.assert(
    fc.property(fc.array(step, { maxLength: 200 }), (steps) => {
      const heap = new Heap<Item>((a, b) => a.rank < b.rank)
      let items: Item[] = []
      for (const { kind, rank } of steps) {
        const chosen = items[rank % Math.max(1, items.length)]
        if (kind === 'push') {
          const item = { rank, heapIndex: -1 }
          heap.push(item)
          items.push(item)
        } else if (chosen !== undefined) {
          if (kind === 'remove') heap.remove(chosen)
          const gone = kind === 'shift' ? heap.shift() : chosen
          items = items.filter((item) => item !== gone)
        }
        expect(heap.size).toBe(items.length)
        expect(heap.first()?.rank).toBe(items.length === 0 ? undefined : Math.min(...items.map((each) => each.rank)))
      }
      heap.clear()
      expect(heap.size).toBe(0)
      for (const item of items) expect(item.heapIndex).toBe(-1)
    }),
  )
})
