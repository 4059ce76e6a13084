/**
 * The limit: a pipelined loop over the bare protocol. Submits of one turn of the event loop are one write, and each waits for its
 * JOB_CREATED. A worker keeps 500 grabs pending and writes all completions of one read together, without a barrier. Ids are a
 * counter; there are no headers, leases, delays or reconnects.
 */
import { once } from 'node:events'
import { createConnection, type Socket } from 'node:net'
import { setImmediate } from 'node:timers/promises'
import type { Contestant, Payload, Session } from '../contestant.ts'
import { waitingOn } from './waiting.ts'

const QUEUE = 'bench'
const BATCH = 1_000
const GRABS = 500
const HEADER_BYTES = 12
const REQUEST = 0x00_52_45_51
const TYPE = {
  CAN_DO: 1,
  NOOP: 6,
  PRE_SLEEP: 4,
  JOB_CREATED: 8,
  GRAB_JOB: 9,
  NO_JOB: 10,
  ASSIGN: 11,
  COMPLETE: 13,
  SUBMIT_BG: 18,
}

export const contestant: Contestant = {
  async open(address) {
    const [host = '', port] = address.replace('gearman://', '').split(':')
    const connect = async (): Promise<Socket> => {
      const socket = createConnection({ host, port: Number(port), noDelay: true })
      await once(socket, 'connect')
      return socket
    }
    return session(await connect(), connect, address)
  },
}

function session(client: Socket, connect: () => Promise<Socket>, address: string): Session {
  let gathered: Buffer[] = []
  let flushed: Promise<void> | undefined
  let submitted = 0
  const due: { remaining: number; resolve: () => void }[] = []
  packetsOf(client, () => {
    const [first] = due
    if (first !== undefined && --first.remaining === 0) due.shift()?.resolve()
  })

  function submitAll(jobs: readonly Buffer[]): Promise<void> {
    if (jobs.length === 0) return Promise.resolve()
    client.write(Buffer.concat(jobs))
    return new Promise((resolve) => due.push({ remaining: jobs.length, resolve }))
  }

  const encode = (data: Payload): Buffer =>
    packet(TYPE.SUBMIT_BG, `${QUEUE}\0${process.pid}.${submitted++}\0${JSON.stringify(data)}`)

  async function flush(): Promise<void> {
    await setImmediate()
    const jobs = gathered
    gathered = []
    flushed = undefined
    await submitAll(jobs)
  }

  return {
    submit(data) {
      gathered.push(encode(data))
      return (flushed ??= flush())
    },
    async submitMany(payloads) {
      let jobs: Buffer[] = []
      const underWay: Promise<void>[] = []
      for (const data of payloads) {
        if (jobs.push(encode(data)) < BATCH) continue
        underWay.push(submitAll(jobs))
        jobs = []
        if (underWay.length >= 4) await underWay.shift()
      }
      await Promise.all([...underWay, submitAll(jobs)])
    },
    async work(handle) {
      const socket = await connect()
      const working = new AbortController()
      const grab = packet(TYPE.GRAB_JOB, '')
      let out: Buffer[] = []
      let grabs = GRABS
      socket.write(Buffer.concat([packet(TYPE.CAN_DO, QUEUE), ...Array.from({ length: GRABS }, () => grab)]))
      packetsOf(
        socket,
        (type, body) => {
          if (type === TYPE.ASSIGN) {
            const handleEnd = body.indexOf(0)
            const workloadAt = body.indexOf(0, handleEnd + 1) + 1
            const job: Payload = JSON.parse(body.toString('utf8', workloadAt))
            void handle(job)
            out.push(packet(TYPE.COMPLETE, body.toString('latin1', 0, handleEnd + 1)))
            if (working.signal.aborted) grabs--
            else out.push(grab)
          } else if (type === TYPE.NO_JOB && --grabs === 0) out.push(packet(TYPE.PRE_SLEEP, ''))
          else if (type === TYPE.NOOP && grabs === 0) {
            grabs = GRABS
            out.push(...Array.from({ length: GRABS }, () => grab))
          }
        },
        () => {
          if (out.length > 0) socket.write(Buffer.concat(out))
          out = []
        },
      )
      return async () => {
        working.abort()
        while (grabs > 0 && !socket.destroyed) await setImmediate()
        socket.end()
        await once(socket, 'close')
      }
    },
    waiting: () => waitingOn(address),
    async close() {
      client.end()
    },
  }
}

function packet(type: number, body: string): Buffer {
  const bodyBytes = Buffer.byteLength(body)
  const bytes = Buffer.allocUnsafe(HEADER_BYTES + bodyBytes)
  bytes.writeUInt32BE(REQUEST, 0)
  bytes.writeUInt32BE(type, 4)
  bytes.writeUInt32BE(bodyBytes, 8)
  bytes.write(body, HEADER_BYTES)
  return bytes
}

function packetsOf(
  socket: Socket,
  onPacket: (type: number, body: Buffer) => void,
  onRead: () => void = () => {},
): void {
  let rest = Buffer.alloc(0)
  socket.on('data', (chunk) => {
    const bytes = rest.length === 0 ? chunk : Buffer.concat([rest, chunk])
    let at = 0
    while (bytes.length - at >= HEADER_BYTES) {
      const end = at + HEADER_BYTES + bytes.readUInt32BE(at + 8)
      if (end > bytes.length) break
      onPacket(bytes.readUInt32BE(at + 4), bytes.subarray(at + HEADER_BYTES, end))
      at = end
    }
    rest = bytes.subarray(at)
    onRead()
  })
}
