import { once } from 'node:events'
import { createRequire } from 'node:module'
import { createConnection, type Socket } from 'node:net'
import { brokerTests } from '@zyqueue/broker-test-kit'
import { afterAll, beforeAll, describe, expect, onTestFinished, test } from 'vitest'
import { PACKET, PacketWriter } from '../../src/connection/protocol.ts'
import { startJobServer, type JobServer } from '../../src/server/index.ts'
import { brokerAt, proxied } from '../proxied.ts'
import { eventually, openBroker, queueName, storeWorkload } from '../support.ts'

/** A raw connection. It ends with the test. */
function connect({ port }: JobServer, request = ''): { socket: Socket; closed: Promise<unknown> } {
  const socket = createConnection(port, '127.0.0.1')
  socket.write(request)
  onTestFinished(() => void socket.destroy())
  // The server may close the connection while the client writes.
  socket.on('error', () => {})
  return { socket, closed: new Promise((resolve) => socket.resume().once('close', resolve)) }
}

/** Returns what the server has sent so far. */
function readTexts(socket: Socket): () => string {
  let text = ''
  socket.on('data', (chunk) => (text += chunk.toString()))
  return () => text
}

function packet(type: number, body: Uint8Array): Buffer {
  return Buffer.concat(new PacketWriter('client').packet(type, '', body).buffers())
}

describe('the job server of zyqueue gearmand', () => {
  let server: JobServer
  beforeAll(async () => {
    server = await startJobServer({ port: 0 })
  })
  const { close, ...brokers } = proxied(() => [server])
  afterAll(() => Promise.all([close(), server.close()]))
  brokerTests({
    test: test.concurrent,
    ...brokers,
    storeUnreadable: (queue) => storeWorkload(server.port, queue, '#zyq9 {"shape":"new"}\nbody'),
    sample: brokerAt([4730]),
    brokerWithFinding: brokers.createBroker,
    timeoutMs: 30_000,
  })

  test('it serves calls of other programs, with their progress', async () => {
    const abraxas = createRequire(import.meta.url)('abraxas')
    const peer = abraxas.Client.connect({ host: '127.0.0.1', port: server.port, defaultEncoding: 'utf8' })
    onTestFinished(() => peer.disconnect())
    const name = queueName()
    peer.registerWorker(name, (task: { payload: string; status(part: number): void }) => {
      task.status(0.5)
      return task.payload.toUpperCase()
    })
    const progress: number[] = []
    const call = peer.submitJob(name, 'text')
    call.on('status', (part: number) => progress.push(part))
    expect(await call).toBe('TEXT')
    expect(progress).toEqual([0.5])
  })

  test.each([
    ['POST', 'POST / HTTP/1.1\r\nHost: localhost:4730\r\n\r\nshutdown\r\ncreate function obeyed\r\n'],
    ['GET', 'GET / HTTP/1.1\r\n\r\ncreate function obeyed\r\n'],
    ['a method that is a command', 'create function obeyed / HTTP/1.1\r\n\r\n'],
    ['HTTP without a version', 'GET /\r\ncreate function obeyed\r\n'],
    ['only headers', 'Host: localhost\r\ncreate function obeyed\r\n'],
    ['a late header', 'version\r\nContent-Type: text/plain\r\ncreate function obeyed\r\n'],
  ])('an HTTP request is not obeyed and its connection is closed: %s', async (_, request) => {
    const { closed } = connect(server, request)
    await closed
    const admin = await openBroker(`127.0.0.1:${server.port}`)
    expect((await admin.admin.queues()).map(({ name }) => name)).not.toContain('obeyed')
  })

  test.each([
    ['text commands', 'status\n'.repeat(5_000_000)],
    ['packets', Buffer.concat(Array.from({ length: 4_000 }, () => packet(PACKET.ECHO_REQ, Buffer.alloc(16_384))))],
  ])('a client that sends %s and does not read is not read either', async (_, request) => {
    const own = await startJobServer({ port: 0 })
    onTestFinished(() => own.close())
    const names = connect(own).socket
    for (let n = 0; n < 200; n++) names.write(packet(PACKET.CAN_DO, Buffer.from(`function-${n}`)))
    const { socket } = connect(own)
    socket.pause()
    let isFull = false
    const pump = (): void => {
      isFull = !socket.write(request)
      if (!isFull) setImmediate(pump)
    }
    pump()
    const admin = await openBroker(`127.0.0.1:${own.port}`)
    // While the server answers others, it takes none of the pending requests.
    const taken: number[] = []
    await eventually(async () => {
      await admin.admin.version()
      taken.push(socket.bytesWritten - socket.writableLength)
      return taken.length > 20 && taken.slice(-10).every((bytes) => bytes === taken.at(-1))
    })
    expect(socket.writableLength).toBeGreaterThan(0)
  })

  test('a client that does not read what others send to it is disconnected', async () => {
    const own = await startJobServer({ port: 0 })
    onTestFinished(() => own.close())
    const caller = connect(own)
    const worker = connect(own)
    caller.socket.write(packet(PACKET.SUBMIT_JOB, Buffer.from('endless\0\0')))
    await once(caller.socket, 'data')
    caller.socket.pause()
    worker.socket.write(packet(PACKET.CAN_DO, Buffer.from('endless')))
    worker.socket.write(packet(PACKET.GRAB_JOB, Buffer.alloc(0)))
    const [assigned]: Buffer[] = await once(worker.socket, 'data')
    const handle = assigned?.toString('latin1', 12, assigned.indexOf(0, 12)) ?? ''
    const data = packet(PACKET.WORK_DATA, Buffer.concat([Buffer.from(`${handle}\0`), Buffer.alloc(1_000_000)]))
    // Its answer has a line for each of the two connections.
    const lines = readTexts(connect(own, 'workers\n').socket)
    await eventually(() => lines().split('\n').length === 4)
    for (let sent = 0; sent < 100; sent++) await new Promise((written) => worker.socket.write(data, written))
    await eventually(async () => {
      const left = readTexts(connect(own, 'workers\n').socket)
      await eventually(() => left().endsWith('.\n'))
      return left().split('\n').length === 3
    })
  })

  test('a packet of more than 64 MiB closes the connection before its body comes', async () => {
    const { socket, closed } = connect(server)
    const header = packet(PACKET.SUBMIT_JOB_BG, Buffer.alloc(0))
    header.writeUInt32BE(64 * 1024 * 1024 + 1, 8)
    socket.write(header)
    await closed
  })

  test('function names with tabs and newlines are refused, and client ids cannot forge lines', async () => {
    const { socket } = connect(server)
    const answers = readTexts(socket)
    for (const name of ['a\tb', 'a\nb', '', 'x'.repeat(513)]) {
      socket.write(packet(PACKET.CAN_DO, Buffer.from(name)))
      socket.write(packet(PACKET.SUBMIT_JOB_BG, Buffer.from(`${name}\0\0body`)))
    }
    socket.write(packet(PACKET.SET_CLIENT_ID, Buffer.from('me\n99 10.0.0.1 forged : t')))
    socket.write(packet(PACKET.CAN_DO, Buffer.from('fine')))
    await eventually(() => answers().split('INVALID_FUNCTION_NAME').length === 9)
    const lines = readTexts(connect(server, 'workers\nstatus\n').socket)
    await eventually(() => lines().split('\n.\n').length === 3)
    expect(lines()).toContain('me?99 10.0.0.1 forged : t : fine')
    expect(lines()).toContain('fine\t0\t0\t1')
    expect(lines()).not.toMatch(/^a|^b/m)
  })

  test('the command shutdown ends it', async () => {
    const own = await startJobServer({ port: 0 })
    const broker = await openBroker(`127.0.0.1:${own.port}`)
    expect(await broker.admin.version()).toBe('gearmand 1.1.18-zyqueue')
    expect(await broker.admin.check()).toMatchObject([{ level: 'note' }])
    await broker.admin.shutdown?.()
    await own.ended
  })
})
