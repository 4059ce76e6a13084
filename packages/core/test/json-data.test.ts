import { runInNewContext } from 'node:vm'
import fc from 'fast-check'
import { describe, expect, expectTypeOf, test } from 'vitest'
import { z } from 'zod'
import { decodeData, encodeData } from '../src/messages/envelope.ts'
import type { JobData } from '../src/messages/json-data.ts'
import { queueJob, remoteTask } from '../src/tasks/queue-job.ts'
import { createTestQueue } from '../src/testing/index.ts'
import type { Job } from '../src/worker/job.ts'
import { scripted, uniqueName } from './support.ts'

class Point {
  readonly x = 1
  get y(): number {
    return 2
  }
}

class Sealed {
  readonly #x = 1
  get x(): number {
    return this.#x
  }
}

const refused: readonly (readonly [unknown, RegExp])[] = [
  [new Map([[1, 2]]), /^data is a Map.*Object\.fromEntries/],
  [{ a: { tags: new Set([1]) } }, /^data\.a\.tags is a Set/],
  [{ a: [1, () => {}] }, /^data\.a\[1\] is a function/],
  [{ run() {} }, /^data\.run is a function/],
  [{ 'two words': Symbol('s') }, /^data\["two words"\] is a symbol/],
  [{ big: 10n }, /^data\.big is a bigint.*String/],
  [{ deep: [[{ n: Number.NaN }]] }, /^data\.deep\[0\]\[0\]\.n is NaN/],
  [[Number.POSITIVE_INFINITY], /^data\[0\] is Infinity/],
  [[1, undefined], /^data\[1\] is undefined/],
  [Object.assign([1, 2, 3], { length: 5 }), /^data\[3\] is undefined/],
  [{ later: Promise.resolve(1) }, /^data\.later is a promise.*Await/],
  [{ error: new TypeError('x') }, /^data\.error is an Error/],
  [{ pattern: /x/ }, /^data\.pattern is a RegExp/],
  [{ bytes: new Uint8Array(4) }, /^data\.bytes is an array of bytes.*base64/],
  [{ bytes: new ArrayBuffer(4) }, /^data\.bytes is an ArrayBuffer/],
  [{ when: new Date(Number.NaN) }, /^data\.when is an invalid Date/],
  [{ form: new URLSearchParams('a=b') }, /^data\.form is a URLSearchParams without fields/],
  [new Sealed(), /^data is a Sealed without fields/],
  [{ points: [new Point(), { inside: new WeakMap() }] }, /^data\.points\[1\]\.inside is a WeakMap/],
  [{ toJSON: () => new Map() }, /^data is a Map/],
  [{ a: { toJSON: () => undefined } }, /^data\.a is undefined/],
  [() => {}, /^data is a function/],
  [Symbol('s'), /^data is a symbol/],
]

test.each(refused)('%o is refused with the path of the value that JSON would change', (data, message) => {
  expect(() => encodeData(data)).toThrow(
    expect.objectContaining({ code: 'ZYQ_ENCODE', message: expect.stringMatching(message) }),
  )
})

test.each([
  [{ a: undefined, b: 1 }, { b: 1 }],
  [new Point(), { x: 1 }],
  [Object.create(null), {}],
  [runInNewContext('({ empty: {}, list: [1] })'), { empty: {}, list: [1] }],
  [
    { when: new Date(0), link: new URL('http://x/') },
    { when: '1970-01-01T00:00:00.000Z', link: 'http://x/' },
  ],
  [Buffer.from('a'), { type: 'Buffer', data: [97] }],
  [Object('boxed'), 'boxed'],
])('%o is sent as JSON', (data, arrives) => {
  expect(decodeData(encodeData(data))).toEqual(arrives)
})

test('whatever is accepted arrives equal, apart from fields that are undefined', () => {
  const odd = fc.anything({
    withBigInt: true,
    withMap: true,
    withSet: true,
    withSparseArray: true,
    withTypedArray: true,
  })
  // JSON writes -0 as 0.
  const values = odd.filter((value) => !fc.stringify(value).includes('-0'))
  fc.assert(
    fc.property(values, (data) => {
      let body: Uint8Array
      try {
        body = encodeData(data)
      } catch (error) {
        expect(error).toMatchObject({
          code: 'ZYQ_ENCODE',
          message: expect.stringMatching(/^data.* is .*JSON cannot carry/),
        })
        return
      }
      expect(decodeData(body)).toEqual(data ?? null)
    }),
  )
})

test('a submit of such data rejects, and other submits of the same moment are stored', async () => {
  const broker = scripted()
  const task = remoteTask(uniqueName(), { server: broker })
  const odd: unknown = { tags: new Set(['a']) }
  const [good, bad, many] = await Promise.allSettled([task.submit(1), task.submit(odd), task.submitMany([odd])])
  expect(good.status).toBe('fulfilled')
  for (const result of [bad, many]) {
    expect(result).toMatchObject({
      reason: { code: 'ZYQ_ENCODE', message: expect.stringMatching(/data\.tags is a Set/) },
    })
  }
  expect(broker.store.queue(task.name).stats().ready).toBe(1)
})

describe('the types', () => {
  test('agree: a type that arrives as another one cannot be submitted', () => {
    type Plain = { readonly a?: string; b: number[]; c: [1, 'x']; d: { e: null } | undefined }
    expectTypeOf<JobData<Plain>>().toEqualTypeOf<Plain>()
    expectTypeOf<JobData<unknown>>().toBeUnknown()
    expectTypeOf<JobData<Date | number>>().toEqualTypeOf<'Jobs are JSON, which has no Date' | number>()
    const typesOnly = (): void => {
      const dated = queueJob({ name: uniqueName() }, (_worker, job: Job<{ at: Date }>) => job.data.at)
      // @ts-expect-error the handler would receive a text
      void dated.submit({ at: new Date() })
      // @ts-expect-error
      void dated.submitMany([{ at: new Date() }])
      // @ts-expect-error
      void dated.call({ at: new Date() })
      // @ts-expect-error
      void remoteTask<{ tags: ReadonlyMap<string, number> }>('x').submit({ tags: new Map() })
      // @ts-expect-error
      void remoteTask<{ tags: Set<string> }>('x').submit({ tags: new Set() })
      // @ts-expect-error
      void remoteTask<{ run: () => void }>('x').submit({ run() {} })
      // @ts-expect-error
      void remoteTask<{ big: bigint[] }>('x').submit({ big: [1n] })
      // @ts-expect-error
      void remoteTask<symbol>('x').submit(Symbol('s'))
    }
    expect(typesOnly).toBeTypeOf('function')
  })

  test('let a schema turn the text back into a Date', async () => {
    const dates: unknown[] = []
    const data = z.object({ at: z.coerce.date() })
    const task = queueJob({ name: uniqueName(), data }, (_worker, job) => void dates.push(job.data.at))
    await using queue = createTestQueue({ tasks: [task] })
    await task.submit({ at: new Date(5) })
    await queue.run()
    expect(dates).toEqual([new Date(5)])
  })
})
