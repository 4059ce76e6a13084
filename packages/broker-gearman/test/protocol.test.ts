import { createServer, type AddressInfo, type Socket } from 'node:net'
import { once } from 'node:events'
import fc from 'fast-check'
import { describe, expect, onTestFinished, test } from 'vitest'
import plugin from '../src/index.ts'
import {
  HEADER_BYTES,
  MAX_PACKET_BYTES,
  PacketReader,
  PacketWriter,
  PACKET,
  ProtocolError,
  readAssignment,
  splitArguments,
  type Packet,
} from '../src/connection/protocol.ts'
import {
  decodeJob,
  encodeAgain,
  encodeCall,
  encodeFirst,
  levelOf,
  MAX_UNIQUE_BYTES,
  type StoredJob,
} from '../src/message.ts'

const bytes = (most = 200) => fc.uint8Array({ maxLength: most }).map((array) => Buffer.from(array))
const packet = fc.record({ type: fc.integer({ min: 0, max: 2 ** 32 - 1 }), body: bytes() })

/** Cuts bytes at these places, wherever they are. */
function cut(whole: Buffer, places: readonly number[]): readonly Buffer[] {
  const ends = [...places.map((place) => place % (whole.length + 1)), whole.length].toSorted((a, b) => a - b)
  return ends.map((end, index) => whole.subarray(index === 0 ? 0 : ends[index - 1], end))
}

function readAll(chunks: readonly Buffer[], sender: 'server' | 'client' = 'server'): Packet[] {
  const reader = new PacketReader(sender)
  const packets: Packet[] = []
  for (const chunk of chunks) reader.push(chunk, ({ type, body }) => packets.push({ type, body: Buffer.from(body) }))
  return packets
}

describe('packets', () => {
  test('what was written is read, however it is cut', () => {
    fc.assert(
      fc.property(fc.array(packet), fc.array(fc.nat()), (packets, places) => {
        const writer = new PacketWriter('server')
        for (const { type, body } of packets) writer.packet(type, '', body)
        expect(readAll(cut(Buffer.concat(writer.buffers()), places))).toEqual(packets)
      }),
    )
  })

  test('payloads that are sent from where they lie keep their place among the others', () => {
    fc.assert(
      fc.property(fc.array(fc.constantFrom(0, 10, 16 * 1024 - 1, 16 * 1024, 70_000), { maxLength: 8 }), (sizes) => {
        const writer = new PacketWriter('client')
        const packets = sizes.map((size, index) => ({ type: index, body: Buffer.alloc(size, index) }))
        for (const { type, body } of packets) writer.packet(type, 'é\0', body)
        const read = readAll([Buffer.concat(writer.buffers())], 'client')
        expect(read.map(({ type, body }) => [type, body.length])).toEqual(sizes.map((size, index) => [index, size + 3]))
        const whole = ({ body }: Packet): Buffer => Buffer.concat([Buffer.from('é\0'), body])
        expect(
          read.every(({ body }, index) => packets[index] !== undefined && body.equals(whole(packets[index]))),
        ).toBe(true)
      }),
      { numRuns: 30 },
    )
  })

  test('anything else is a ProtocolError, or waits for more; nothing else is thrown', () => {
    fc.assert(
      fc.property(bytes(60), fc.array(fc.nat()), (garbage, places) => {
        try {
          readAll(cut(garbage, places))
        } catch (error) {
          expect(error).toBeInstanceOf(ProtocolError)
        }
        if (garbage.length >= HEADER_BYTES && garbage.toString('latin1', 0, 4) !== '\0RES') {
          expect(() => readAll([garbage])).toThrow(ProtocolError)
        }
      }),
    )
  })

  test('a packet that claims to be too large is refused before it is waited for', () => {
    const header = Buffer.concat(new PacketWriter('server').packet(PACKET.NOOP).buffers())
    header.writeUInt32BE(MAX_PACKET_BYTES + 1, 8)
    expect(() => readAll([header])).toThrow(ProtocolError)
  })

  test('arguments are what the NULs separate, and the last may hold any bytes', () => {
    fc.assert(
      fc.property(
        fc.array(
          fc.string({ unit: 'binary' }).map((text) => text.replaceAll('\0', '')),
          { minLength: 1 },
        ),
        bytes(),
        (texts, rest) => {
          const body = Buffer.concat([Buffer.from(texts.map((text) => `${text}\0`).join('')), rest])
          const split = splitArguments(body, texts.length)
          expect(split.texts).toEqual(texts.map((text) => Buffer.from(text).toString()))
          expect(split.rest).toEqual(rest)
        },
      ),
    )
    expect(() => readAssignment(Buffer.from('H:1\0only two'))).toThrow(ProtocolError)
  })
})

const headers = fc
  .array(fc.tuple(fc.constantFrom('zyq-task', 'x-ü', '__proto__', 'constructor'), fc.string({ unit: 'grapheme' })))
  .map((pairs) => Object.assign(Object.create(null), Object.fromEntries(pairs)) as Record<string, string>)

const id = fc.string({
  unit: fc.integer({ min: 0x21, max: 0x7e }).map((code) => String.fromCharCode(code)),
  minLength: 1,
  maxLength: 63,
})

const job: fc.Arbitrary<StoredJob> = fc.record(
  {
    id,
    headers,
    body: fc.oneof(
      bytes(),
      fc.constantFrom('#zyq1 {}\n', '#zyq1 {"id":"a"}\nx', '{"a":1}', '').map((text) => Buffer.from(text)),
    ),
    priority: fc.integer({ min: 0, max: 9 }),
    deliveryCount: fc.nat(20),
    charges: fc.array(fc.string({ maxLength: 12 }), { maxLength: 3 }),
    dueMs: fc.option(fc.nat(), { nil: undefined }),
    death: fc.option(fc.record({ reason: fc.string({ unit: 'grapheme' }), atMs: fc.nat() }), { nil: undefined }),
  },
  { requiredKeys: ['id', 'headers', 'body', 'priority', 'deliveryCount'] },
)

describe('jobs on the wire', () => {
  test('a job comes back as it was, whichever way it was written', () => {
    fc.assert(
      fc.property(job, fc.constantFrom(encodeFirst, encodeAgain, encodeCall), (sent, encode) => {
        const { unique, workload } = encode(sent)
        expect(unique.length).toBeGreaterThan(0)
        expect(unique.length).toBeLessThanOrEqual(MAX_UNIQUE_BYTES)
        expect(workload.length).toBeGreaterThan(0)
        const got = decodeJob(unique, Buffer.from(workload))
        expect({ id: got.id, headers: { ...got.headers }, body: Buffer.from(got.body) }).toEqual({
          id: sent.id,
          headers: { ...sent.headers },
          body: Buffer.from(sent.body),
        })
        expect([got.deliveryCount, got.dueMs, got.death]).toEqual([sent.deliveryCount, sent.dueMs, sent.death])
        expect(got.isCall).toBe(encode === encodeCall)
        // Nobody stores a call anew, so it need not be known there.
        if (encode !== encodeCall) expect(levelOf(got.priority)).toBe(levelOf(sent.priority))
      }),
      { numRuns: 500 },
    )
  })

  test('plain JSON without metadata travels as it is, under its id with a mark', () => {
    const body = Buffer.from('{"file":"a.png"}')
    const plain = { id: 'job-1', headers: {}, body, priority: 4, deliveryCount: 0 }
    expect(encodeFirst(plain)).toEqual({ unique: 'zyq:job-1', workload: body })
    expect(encodeFirst({ ...plain, priority: 9 })).toEqual({ unique: 'zyq+job-1', workload: body })
    expect(encodeFirst({ ...plain, priority: 0 })).toEqual({ unique: 'zyq-job-1', workload: body })
    expect(encodeCall(plain)).toEqual({ unique: 'zyq=job-1', workload: body })
  })

  test.each(['', '-', 'order-42', '=order', 'zyq', 'zyq:'])(
    'a job of another program has no id by its unique %j',
    (unique) => {
      expect(decodeJob(unique, Buffer.from('1'))).toMatchObject({ id: '', isCall: false })
    },
  )

  test('whatever strangers send is a job', () => {
    fc.assert(
      fc.property(fc.string({ unit: 'binary' }), bytes(), (unique, workload) => {
        expect(decodeJob(unique, workload).body.length).toBeLessThanOrEqual(workload.length)
      }),
    )
    expect(decodeJob('u', Buffer.from('#zyq1 no JSON\nbody')).body.toString()).toBe('#zyq1 no JSON\nbody')
  })

  test('a unique is never used twice for jobs that are stored anew', () => {
    const again = { id: 'a', headers: {}, body: Buffer.from('1'), priority: 4, deliveryCount: 0 }
    const uniques = Array.from({ length: 1000 }, () => encodeAgain(again).unique)
    expect(new Set(uniques).size).toBe(1000)
  })
})

describe('broken peers', () => {
  async function peer(onConnection: (socket: Socket) => void): Promise<string> {
    const sockets = new Set<Socket>()
    const server = createServer((socket) => {
      sockets.add(socket)
      socket.on('error', () => {})
      onConnection(socket)
    }).listen(0, '127.0.0.1')
    await once(server, 'listening')
    onTestFinished(() => {
      for (const socket of sockets) socket.destroy()
      server.close()
    })
    return `127.0.0.1:${(server.address() as AddressInfo).port}`
  }

  const echo = (socket: Socket): void => {
    const reader = new PacketReader('client')
    socket.on('data', (chunk) => {
      reader.push(chunk, ({ type, body }) => {
        if (type !== PACKET.ECHO_REQ) return
        for (const part of new PacketWriter('server').packet(PACKET.ECHO_RES, '', body).buffers()) socket.write(part)
      })
    })
  }

  test.each([
    ['speaks HTTP', (socket: Socket) => socket.write('HTTP/1.1 400 Bad Request\r\n\r\n')],
    ['closes at once', (socket: Socket) => socket.destroy()],
    [
      'sends a packet nobody asked for',
      (socket: Socket) =>
        socket.write(Buffer.concat(new PacketWriter('server').packet(PACKET.JOB_CREATED, 'H:1').buffers())),
    ],
  ])('connect rejects where the peer %s', async (_, behave) => {
    const broker = plugin.create({ connection: await peer(behave), baseDir: '/' })
    const error: unknown = await broker.connect().catch((thrown: unknown) => thrown)
    expect(broker.errorCode(error)).toBe('ZYQ_UNREACHABLE')
    await broker.close()
  })

  test('random frames behind a good beginning settle what is under way, and crash nothing', async () => {
    await fc.assert(
      fc.asyncProperty(
        fc.oneof(
          bytes(40),
          packet.map(({ type, body }) =>
            Buffer.concat(new PacketWriter('server').packet(type % 45, '', body).buffers()),
          ),
        ),
        async (garbage) => {
          const url = await peer((socket) => {
            echo(socket)
            socket.once('data', () => {
              socket.write(garbage)
              setTimeout(() => socket.end(), 5)
            })
          })
          const broker = plugin.create({ connection: url, baseDir: '/' })
          const outcomes = await broker.connect().then(
            () =>
              broker
                .publish([{ queue: 'q', id: 'a', body: Buffer.from('1'), headers: {}, delayMs: 0, priority: 4 }])
                .catch((error: unknown) => broker.errorCode(error)),
            (error: unknown) => broker.errorCode(error),
          )
          expect(outcomes).toBeDefined()
          await broker.close()
        },
      ),
      { numRuns: 40 },
    )
  })
})
