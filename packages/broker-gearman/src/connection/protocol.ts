/**
 * The binary protocol of Gearman: https://gearman.org/protocol/. A packet is four magic bytes, its type and the
 * size of its body as big-endian 32-bit numbers, and the body: arguments separated by NULs. The last argument may hold any bytes.
 */
import { Buffer } from 'node:buffer'

export const PACKET = {
  CAN_DO: 1,
  CANT_DO: 2,
  RESET_ABILITIES: 3,
  PRE_SLEEP: 4,
  NOOP: 6,
  SUBMIT_JOB: 7,
  JOB_CREATED: 8,
  GRAB_JOB: 9,
  NO_JOB: 10,
  JOB_ASSIGN: 11,
  WORK_STATUS: 12,
  WORK_COMPLETE: 13,
  WORK_FAIL: 14,
  GET_STATUS: 15,
  ECHO_REQ: 16,
  ECHO_RES: 17,
  SUBMIT_JOB_BG: 18,
  ERROR: 19,
  STATUS_RES: 20,
  SUBMIT_JOB_HIGH: 21,
  SET_CLIENT_ID: 22,
  WORK_EXCEPTION: 25,
  OPTION_REQ: 26,
  OPTION_RES: 27,
  WORK_DATA: 28,
  WORK_WARNING: 29,
  GRAB_JOB_UNIQ: 30,
  JOB_ASSIGN_UNIQ: 31,
  SUBMIT_JOB_HIGH_BG: 32,
  SUBMIT_JOB_LOW: 33,
  SUBMIT_JOB_LOW_BG: 34,
  GET_STATUS_UNIQUE: 41,
  STATUS_RES_UNIQUE: 42,
} as const

/** What a worker reports about a job. */
export const WORK_PACKETS: ReadonlySet<number> = new Set([
  PACKET.WORK_STATUS,
  PACKET.WORK_COMPLETE,
  PACKET.WORK_FAIL,
  PACKET.WORK_EXCEPTION,
  PACKET.WORK_DATA,
  PACKET.WORK_WARNING,
])

export const HEADER_BYTES = 12
/** A peer that announces a larger packet does not speak the protocol. */
export const MAX_PACKET_BYTES: number = 256 * 1024 * 1024

const REQUEST_MAGIC = 0x00_52_45_51 // \0REQ
const RESPONSE_MAGIC = 0x00_52_45_53 // \0RES
/** Payloads of this size and more are not copied. For smaller ones a copy is cheaper than another write. */
const REFERENCE_BYTES = 16 * 1024
const SLAB_BYTES = 64 * 1024

/** A received packet. `body` is a view into the chunk. */
export interface Packet {
  readonly type: number
  readonly body: Buffer
}

/** The peer does not speak the protocol. The connection must be closed. */
export class ProtocolError extends Error {
  override readonly name = 'ProtocolError'
}

/** Splits a stream of chunks into packets. */
export class PacketReader {
  readonly #magic: number
  readonly #maxBytes: number
  #parts: Buffer[] = []
  #length = 0
  /** How many bytes must be there before the next packet can be read. */
  #needed = HEADER_BYTES

  /** `sender`: whose packets are read. `maxBytes`: the largest body of a packet. */
  constructor(sender: 'server' | 'client' = 'server', maxBytes = MAX_PACKET_BYTES) {
    this.#magic = sender === 'server' ? RESPONSE_MAGIC : REQUEST_MAGIC
    this.#maxBytes = maxBytes
  }

  /** Calls `onPacket` for each packet that the chunk completes. Throws `ProtocolError`, and must not be used after that. */
  push(chunk: Buffer, onPacket: (packet: Packet) => void): void {
    this.#parts.push(chunk)
    this.#length += chunk.length
    if (this.#length < this.#needed) return
    const bytes = this.#parts.length === 1 ? chunk : Buffer.concat(this.#parts, this.#length)
    let at = 0
    this.#needed = HEADER_BYTES
    while (bytes.length - at >= HEADER_BYTES) {
      const size = this.#bodySize(bytes, at)
      if (bytes.length - at < HEADER_BYTES + size) {
        this.#needed = HEADER_BYTES + size
        break
      }
      const end = at + HEADER_BYTES + size
      onPacket({ type: bytes.readUInt32BE(at + 4), body: bytes.subarray(at + HEADER_BYTES, end) })
      at = end
    }
    this.#length = bytes.length - at
    this.#parts = this.#length === 0 ? [] : [bytes.subarray(at)]
  }

  #bodySize(bytes: Buffer, at: number): number {
    if (bytes.readUInt32BE(at) !== this.#magic) {
      throw new ProtocolError(
        `The peer does not speak Gearman: it sent ${JSON.stringify(bytes.toString('latin1', at, at + 16))}`,
      )
    }
    const size = bytes.readUInt32BE(at + 8)
    if (size > this.#maxBytes)
      throw new ProtocolError(`The peer announced a packet of ${size} bytes, more than ${this.#maxBytes}`)
    return size
  }
}

/** Collects packets, to be written together. */
export class PacketWriter {
  readonly #magic: number
  readonly #done: Buffer[] = []
  #slab = Buffer.allocUnsafe(1024)
  #used = 0

  /** `sender`: whose packets are written. */
  constructor(sender: 'client' | 'server' = 'client') {
    this.#magic = sender === 'client' ? REQUEST_MAGIC : RESPONSE_MAGIC
  }

  /** `head` holds the arguments, separated by NULs. If the argument `last` follows, it ends with a NUL too. */
  packet(type: number, head = '', last?: Uint8Array): this {
    const headBytes = Buffer.byteLength(head)
    const lastBytes = last?.length ?? 0
    const copied = lastBytes < REFERENCE_BYTES
    const room = HEADER_BYTES + headBytes + (copied ? lastBytes : 0)
    if (this.#slab.length - this.#used < room) this.#newSlab(room)
    const slab = this.#slab
    let at = slab.writeUInt32BE(this.#magic, this.#used)
    at = slab.writeUInt32BE(type, at)
    at = slab.writeUInt32BE(headBytes + lastBytes, at)
    at += slab.write(head, at)
    if (last !== undefined && copied) slab.set(last, at)
    this.#used += room
    if (last !== undefined && !copied) {
      this.#endSlab()
      this.#done.push(Buffer.from(last.buffer, last.byteOffset, last.byteLength))
    }
    return this
  }

  /** All packets, in their order. The writer must not be used after that. */
  buffers(): readonly Buffer[] {
    this.#endSlab()
    return this.#done
  }

  #newSlab(room: number): void {
    this.#endSlab()
    this.#slab = Buffer.allocUnsafe(Math.max(room, SLAB_BYTES))
  }

  #endSlab(): void {
    if (this.#used === 0) return
    this.#done.push(this.#slab.subarray(0, this.#used))
    this.#slab = this.#slab.subarray(this.#used)
    this.#used = 0
  }
}

/** The first `count` arguments of a packet as UTF-8, and the rest. Throws `ProtocolError` if there are fewer arguments. */
export function splitArguments(
  body: Buffer,
  count: number,
): { readonly texts: readonly string[]; readonly rest: Buffer } {
  const texts: string[] = []
  let start = 0
  for (let index = 0; index < count; index++) {
    const end = body.indexOf(0, start)
    if (end < 0) throw new ProtocolError(`A packet has ${index + 1} arguments instead of at least ${count + 1}`)
    texts.push(body.toString('utf8', start, end))
    start = end + 1
  }
  return { texts, rest: body.subarray(start) }
}

/** A job that the server assigns to a worker. `workload` is a view into the packet. */
export interface Assignment {
  readonly handle: string
  readonly functionName: string
  readonly unique: string
  readonly workload: Buffer
}

/** Reads a JOB_ASSIGN_UNIQ. Throws `ProtocolError`. It decodes the names together, because this runs for every job. */
export function readAssignment(body: Buffer): Assignment {
  const handleEnd = body.indexOf(0)
  const nameEnd = body.indexOf(0, handleEnd + 1)
  const uniqueEnd = body.indexOf(0, nameEnd + 1)
  if (handleEnd < 0 || nameEnd < 0 || uniqueEnd < 0)
    throw new ProtocolError('A JOB_ASSIGN_UNIQ has fewer than four arguments')
  const names = body.toString('utf8', 0, uniqueEnd)
  const first = names.indexOf('\0')
  const second = names.indexOf('\0', first + 1)
  return {
    handle: names.slice(0, first),
    functionName: names.slice(first + 1, second),
    unique: names.slice(second + 1),
    workload: body.subarray(uniqueEnd + 1),
  }
}

/**
 * How many clients wait for the end of a job, by a STATUS_RES_UNIQUE: unique, known, running, numerator, denominator, waiting
 * clients. Throws `ProtocolError`.
 */
export function readWaitingClients(body: Buffer): number {
  return Number(splitArguments(body, 5).rest.toString('latin1'))
}
