import { createServer, type AddressInfo, type Socket } from 'node:net'
import { once } from 'node:events'
import fc from 'fast-check'
import { describe, expect, onTestFinished, test } from 'vitest'
import plugin from '../../src/index.ts'
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
} from '../../src/connection/protocol.ts'

const bytes = (most = 200) => fc.uint8Array({ maxLength: most }).map((array) => Buffer.from(array))
const packet = fc.record({ type: fc.integer({ min: 0, max: 2 ** 32 - 1 }), body: bytes() })

/** Cuts bytes at these places. */
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
  test('reads what was written, however it is cut', () => {
    fc.assert(
      fc.property(fc.array(packet), fc.array(fc.nat()), (packets, places) => {
        const writer = new PacketWriter('server')
        for (const { type, body } of packets) writer.packet(type, '', body)
        expect(readAll(cut(Buffer.concat(writer.buffers()), places))).toEqual(packets)
      }),
    )
  })

  test('keeps the order of payloads that are sent without a copy', () => {
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

  test('throws only ProtocolError, whatever it reads', () => {
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

  test('refuses a packet by its announced size', () => {
    const header = Buffer.concat(new PacketWriter('server').packet(PACKET.NOOP).buffers())
    header.writeUInt32BE(MAX_PACKET_BYTES + 1, 8)
    expect(() => readAll([header])).toThrow(ProtocolError)
  })

  test('splits arguments at NULs, and the last may hold any bytes', () => {
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
      'sends a packet that answers no request',
      (socket: Socket) =>
        socket.write(Buffer.concat(new PacketWriter('server').packet(PACKET.JOB_CREATED, 'H:1').buffers())),
    ],
  ])('connect rejects if the peer %s', async (_, behave) => {
    const broker = plugin.create({ connection: await peer(behave), baseDir: '/' })
    const error: unknown = await broker.connect().catch((thrown: unknown) => thrown)
    expect(broker.errorCode(error)).toBe('ZYQ_UNREACHABLE')
    await broker.close()
  })

  test('random bytes after a valid beginning settle every pending call', async () => {
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
