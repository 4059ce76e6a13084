import fc from 'fast-check'
import { expect, test } from 'vitest'
import { Prefetch } from '../../src/worker/prefetch.ts'
import { HELD, Scheduler, type Runnable } from '../../src/worker/scheduler.ts'

interface Item extends Runnable {
  readonly id: number
  /** True if it has ended when `run` returns. */
  readonly atOnce: boolean
  run(): void | Promise<void>
  end(): void
}

/** Runs the pending microtasks and the microtasks that they queue. */
async function settle(): Promise<void> {
  for (let turn = 0; turn < 20; turn++) await Promise.resolve()
}

const actions = fc.array(
  fc.oneof(
    {
      weight: 3,
      arbitrary: fc.record({
        add: fc.array(fc.record({ alone: fc.boolean(), atOnce: fc.boolean() }), { maxLength: 6 }),
      }),
    },
    { weight: 4, arbitrary: fc.record({ end: fc.nat() }) },
    { weight: 1, arbitrary: fc.record({ remove: fc.integer({ min: 2, max: 5 }) }) },
  ),
  { maxLength: 40 },
)

/** The model: runs as many items as allowed, in order. */
function startable(waiting: Item[], running: Item[], concurrency: number, startsLeft: number): Item[] {
  const starting: Item[] = []
  for (const item of waiting) {
    const beside = [...running, ...starting]
    if (starting.length >= startsLeft || beside.length >= concurrency) break
    if (beside.length > 0 && (item.alone || beside.some(({ alone }) => alone))) break
    starting.push(item)
  }
  return starting
}

test('behaves like a model', async () => {
  await fc.assert(
    fc.asyncProperty(
      fc.integer({ min: 1, max: 5 }),
      fc.option(fc.integer({ min: 1, max: 12 }), { nil: undefined }),
      actions,
      async (concurrency, maxStarts, steps) => {
        let ids = 0
        let ended = 0
        const told: string[] = []
        const scheduler = new Scheduler<Item>({
          concurrency,
          maxStarts,
          ledger: {
            begin: ({ id }) => told.push(`begin ${id}`),
            end: ({ id }) => told.push(`end ${id}`),
            flush: () => told.push('flush'),
          },
          run: (item) => item.run(),
          onEnd: () => ended++,
        })
        const ran: number[] = []
        let waiting: Item[] = []
        const running: Item[] = []
        let startsLeft = maxStarts ?? Number.POSITIVE_INFINITY
        const make = ({ alone, atOnce }: Pick<Item, 'alone' | 'atOnce'>): Item => {
          let end = (): void => {}
          const done = new Promise<void>((resolve) => {
            end = resolve
          })
          const id = ids++
          const run = () => {
            expect(told.lastIndexOf('flush')).toBeGreaterThan(told.indexOf(`begin ${id}`))
            ran.push(id)
            return atOnce ? undefined : done
          }
          return { id, alone, atOnce, end, run }
        }
        const begin = () => {
          for (;;) {
            const starting = startable(waiting, running, concurrency, startsLeft)
            waiting = waiting.slice(starting.length)
            running.push(...starting.filter((item) => !item.atOnce))
            startsLeft -= starting.length
            if (!starting.some((item) => item.atOnce)) return
          }
        }
        for (const step of steps) {
          if ('add' in step) {
            const items = step.add.map(make)
            scheduler.add(items)
            waiting.push(...items)
          } else if ('remove' in step) {
            const isMeant = ({ id }: Item): boolean => id % step.remove === 0
            expect(scheduler.remove(isMeant)).toEqual(waiting.filter(isMeant))
            waiting = waiting.filter((item) => !isMeant(item))
            // Nothing is started by a removal; the model waits for the next occasion too.
            continue
          } else if (running.length > 0) {
            const [item] = running.splice(step.end % running.length, 1)
            item?.end()
          }
          begin()
          await settle()
          expect([...scheduler.running].map(({ id }) => id).toSorted((a, b) => a - b)).toEqual(
            running.map(({ id }) => id).toSorted((a, b) => a - b),
          )
          expect(scheduler.waiting).toBe(waiting.length)
          expect(scheduler.exhausted).toBe(startsLeft === 0)
          expect(scheduler.hasFreeSlot).toBe(startsLeft > 0 && running.length + waiting.length < concurrency)
        }
        expect(ran).toEqual(ran.toSorted((a, b) => a - b))
        expect(ended).toBe(ran.length - running.length)
      },
    ),
  )
})

test('held items start later, in order and before newer items, and do not count until then', async () => {
  const ran: number[] = []
  const told: string[] = []
  let holds = true
  const scheduler = new Scheduler<{ id: number; alone: boolean }>({
    concurrency: 2,
    maxStarts: 5,
    ledger: { begin: ({ id }) => told.push(`+${id}`), end: ({ id }) => told.push(`-${id}`), flush: () => {} },
    run: ({ id }) => (holds ? HELD : void ran.push(id)),
    onEnd: () => {},
  })
  const items = (...ids: number[]) => ids.map((id) => ({ id, alone: id === 1 }))
  scheduler.add(items(0, 1, 2, 3))
  await settle()
  expect(ran).toEqual([])
  expect(scheduler).toMatchObject({ waiting: 4, hasFreeSlot: true, exhausted: false })
  expect(told.filter((line) => line.startsWith('+')).map(Number)).toEqual([0, 1, 2, 3])
  expect(told.filter((line) => line.startsWith('-'))).toHaveLength(4)
  expect(scheduler.remove(({ id }) => id === 2)).toMatchObject([{ id: 2 }])

  holds = false
  scheduler.resume(({ id }) => id !== 3)
  scheduler.add(items(4, 5))
  await settle()
  expect(ran).toEqual([0, 1, 4, 5])
  scheduler.resume(() => true)
  await settle()
  expect(ran).toEqual([0, 1, 4, 5, 3])
  expect(scheduler).toMatchObject({ waiting: 0, exhausted: true })
})

test('prefetch begins with what runs at once, and grows to a tenth of a second of work', () => {
  fc.assert(
    fc.property(
      fc.integer({ min: 1, max: 2000 }),
      fc.array(fc.double({ min: 0, max: 1e6, noNaN: true })),
      (concurrency, jobs) => {
        const prefetch = new Prefetch(concurrency, undefined)
        expect(prefetch.limit).toBe(concurrency)
        for (const ms of jobs) {
          prefetch.note(ms)
          expect(prefetch.limit).toBeGreaterThanOrEqual(concurrency)
          expect(prefetch.limit).toBeLessThanOrEqual(prefetch.ceiling)
          expect(Number.isInteger(prefetch.limit)).toBe(true)
        }
      },
    ),
  )
  const long = new Prefetch(10, undefined)
  long.note(60_000)
  expect(long.limit).toBe(10)
  const short = new Prefetch(10, undefined)
  for (let job = 0; job < 200; job++) short.note(10)
  expect(short.limit).toBe(100)
  expect(new Prefetch(10, 3).limit).toBe(3)
})
