import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { PACKET } from '../src/connection/protocol.ts'
import { deadFunction } from '../src/functions.ts'
import { decodeJob, encodeJob, levelOf, MAX_UNIQUE_BYTES, type GearmanJob } from '../src/message.ts'

const bytes = fc.uint8Array({ maxLength: 200 }).map((array) => Buffer.from(array))

const headers = fc
  .array(fc.tuple(fc.constantFrom('zyq-task', 'x-ü', '__proto__', 'constructor'), fc.string({ unit: 'grapheme' })))
  .map((pairs) => Object.assign(Object.create(null), Object.fromEntries(pairs)) as Record<string, string>)

const id = fc.string({
  unit: fc.integer({ min: 0x21, max: 0x7e }).map((code) => String.fromCharCode(code)),
  minLength: 1,
  maxLength: 63,
})

const job: fc.Arbitrary<GearmanJob> = fc.record(
  {
    id,
    headers,
    body: fc.oneof(
      bytes,
      fc.constantFrom('#zyq1 {}\n', '#zyq1 {"id":"a"}\nx', '#zyq2 x', '{"a":1}', '').map((text) => Buffer.from(text)),
    ),
    priority: fc.integer({ min: 0, max: 9 }),
    deliveryCount: fc.nat(20),
    lost: fc.array(fc.string({ maxLength: 12 }), { maxLength: 3 }),
    dueMs: fc.option(fc.nat(), { nil: undefined }),
    death: fc.option(fc.record({ reason: fc.string({ unit: 'grapheme' }), atMs: fc.nat() }), { nil: undefined }),
  },
  { requiredKeys: ['id', 'headers', 'body', 'priority', 'deliveryCount'] },
)

describe('the format of stored jobs', () => {
  test('a job is read as it was, however it was written', () => {
    fc.assert(
      fc.property(job, fc.constantFrom('new', 'copy', 'call'), (sent, kind) => {
        const { functionName, unique, workload, atMs } = encodeJob('q', sent, kind)
        expect(unique.length).toBeGreaterThan(0)
        expect(unique.length).toBeLessThanOrEqual(MAX_UNIQUE_BYTES)
        expect(workload.length).toBeGreaterThan(0)
        if (sent.death !== undefined) expect(functionName).toBe(deadFunction('q'))
        else expect(functionName).toBe(sent.dueMs === undefined ? 'q' : `zyq:delayed:${atMs}:q`)
        const read = decodeJob(unique, Buffer.from(workload))
        expect({ id: read.id, headers: { ...read.headers }, body: Buffer.from(read.body) }).toEqual({
          id: sent.id,
          headers: { ...sent.headers },
          body: Buffer.from(sent.body),
        })
        expect([read.deliveryCount, read.dueMs, read.death, read.unknownFormat]).toEqual([
          sent.deliveryCount,
          sent.dueMs,
          sent.death,
          undefined,
        ])
        expect(read.isCall).toBe(kind === 'call')
        // A call is never stored again, so its mark does not hold the priority.
        if (kind !== 'call') expect(levelOf(read.priority)).toBe(levelOf(sent.priority))
      }),
      { numRuns: 500 },
    )
  })

  test('plain JSON without metadata is the workload, and the id with a mark is the unique', () => {
    const body = Buffer.from('{"file":"a.png"}')
    const plain = { id: 'job-1', headers: {}, body, priority: 4, deliveryCount: 0 }
    const sent = { functionName: 'q', unique: 'zyq:job-1', workload: body, packet: PACKET.SUBMIT_JOB_BG }
    expect(encodeJob('q', plain, 'new')).toEqual(sent)
    expect(encodeJob('q', { ...plain, priority: 9 }, 'new')).toEqual({
      ...sent,
      unique: 'zyq+job-1',
      packet: PACKET.SUBMIT_JOB_HIGH_BG,
    })
    expect(encodeJob('q', { ...plain, priority: 0 }, 'new')).toEqual({
      ...sent,
      unique: 'zyq-job-1',
      packet: PACKET.SUBMIT_JOB_LOW_BG,
    })
    expect(encodeJob('q', plain, 'call')).toEqual({ ...sent, unique: 'zyq=job-1', packet: PACKET.SUBMIT_JOB })
  })

  test.each(['', '-', 'order-42', '=order', 'zyq', 'zyq:'])(
    'the unique %j is not the id of a foreign job',
    (unique) => {
      expect(decodeJob(unique, Buffer.from('1'))).toMatchObject({ id: '', isCall: false })
    },
  )

  test('every workload of another program is a job', () => {
    fc.assert(
      fc.property(fc.string({ unit: 'binary' }), bytes, (unique, workload) => {
        expect(decodeJob(unique, workload).body.length).toBeLessThanOrEqual(workload.length)
      }),
    )
    const read = decodeJob('u', Buffer.from('#zyq1 no JSON\nbody'))
    expect([read.body.toString(), read.unknownFormat]).toEqual(['#zyq1 no JSON\nbody', undefined])
  })

  test('no unique is used twice for copies', () => {
    const copied = { id: 'a', headers: {}, body: Buffer.from('1'), priority: 4, deliveryCount: 0 }
    const uniques = Array.from({ length: 1000 }, () => encodeJob('q', copied, 'copy').unique)
    expect(new Set(uniques).size).toBe(1000)
  })

  test('a job of another version is kept as it is, through the dead letters and back', () => {
    const workload = Buffer.from('#zyq2 {"shape":"new"}\nbody')
    const { isCall: _, ...received } = decodeJob('zyq.unique', workload)
    expect(received).toMatchObject({ unknownFormat: 2, body: workload })
    const dead = encodeJob('q', { ...received, id: 'job-1', death: { reason: 'unreadable', atMs: 5 } }, 'copy')
    expect(dead.functionName).toBe(deadFunction('q'))
    const letter = decodeJob(dead.unique, Buffer.from(dead.workload))
    expect(letter).toMatchObject({ id: 'job-1', death: { reason: 'unreadable', atMs: 5 }, unknownFormat: 2 })
    const requeued = encodeJob('q', { ...letter, death: undefined }, 'copy')
    expect([requeued.functionName, Buffer.from(requeued.workload).toString()]).toEqual(['q', workload.toString()])
  })
})
