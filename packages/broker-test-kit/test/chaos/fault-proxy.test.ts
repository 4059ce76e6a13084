import { once } from 'node:events'
import { createConnection, createServer, type Socket } from 'node:net'
import { expect, onTestFinished, test } from 'vitest'
import { FaultProxy, waitFor, withTimeout } from '../../src/index.ts'

/** A server behind a proxy. It keeps the bytes that it receives and answers each chunk in capitals. */
async function setUp() {
  const heard: string[] = []
  const server = createServer((socket) => {
    socket.on('error', () => {})
    socket.on('data', (chunk) => {
      heard.push(chunk.toString())
      socket.write(chunk.toString().toUpperCase())
    })
  }).listen(0, '127.0.0.1')
  await once(server, 'listening')
  const address = server.address()
  if (address === null || typeof address === 'string') throw new Error('no port')
  const proxy = await FaultProxy.start(address.port)
  onTestFinished(async () => {
    await proxy.close()
    server.close()
  })
  return { proxy, heard: () => heard.join('') }
}

interface Client {
  readonly socket: Socket
  readonly said: () => string
  /** How the connection ended. */
  readonly ended: Promise<'end' | 'reset'>
}

async function connect(proxy: FaultProxy): Promise<Client> {
  const socket = createConnection({ port: proxy.port, host: '127.0.0.1' })
  onTestFinished(() => void socket.destroy())
  let said = ''
  socket.on('data', (chunk) => (said += chunk.toString()))
  const ended = new Promise<'end' | 'reset'>((resolve) => {
    socket.on('error', () => resolve('reset'))
    socket.on('end', () => resolve('end'))
    socket.on('close', () => resolve('end'))
  })
  await once(socket, 'connect')
  return { socket, said: () => said, ended }
}

test('pass: all bytes arrive in both directions', async () => {
  const { proxy, heard } = await setUp()
  const { socket, said } = await connect(proxy)
  const much = 'abc'.repeat(1_000_000)
  socket.write(much)
  await waitFor('the answer', () => said().length === much.length)
  expect(heard()).toBe(much)
})

test('cut: the server receives the request, and the connection ends without an answer', async () => {
  const { proxy, heard } = await setUp()
  const { socket, said, ended } = await connect(proxy)
  proxy.fault = 'cut'
  socket.write('hello')
  await withTimeout('the end', ended)
  await waitFor('the server hears', () => heard() === 'hello')
  expect(said()).toBe('')
})

test('cutOnce: the first connection that sends is cut, the others pass', async () => {
  const { proxy, heard } = await setUp()
  const [first, other] = [await connect(proxy), await connect(proxy)]
  const cut = proxy.cutOnce()
  first.socket.write('first')
  await withTimeout('the cut', cut)
  await withTimeout('the end', first.ended)
  other.socket.write('other')
  await waitFor('the answer', () => other.said() === 'OTHER')
  await waitFor('the server hears', () => heard().includes('first'))
  expect(first.said()).toBe('')
  await waitFor('one connection', () => proxy.connections === 1)
})

test('cutOnce: another fault replaces it', async () => {
  const { proxy } = await setUp()
  const { socket, said } = await connect(proxy)
  const cut = proxy.cutOnce()
  proxy.fault = 'pass'
  await withTimeout('the cancelled cut', cut)
  socket.write('hello')
  await waitFor('the answer', () => said() === 'HELLO')
})

test('truncate: the server receives half of a chunk', async () => {
  const { proxy, heard } = await setUp()
  const { socket, ended } = await connect(proxy)
  proxy.fault = 'truncate'
  socket.write('hello!')
  await withTimeout('the end', ended)
  await waitFor('the server hears', () => heard() === 'hel')
})

test('stall: nothing passes on old and new connections until the stall ends', async () => {
  const { proxy, heard } = await setUp()
  const old = await connect(proxy)
  proxy.fault = 'stall'
  const fresh = await connect(proxy)
  old.socket.write('old')
  fresh.socket.write('new')
  // The proxy has accepted both connections, so it has had the chance to forward their bytes.
  await waitFor('both are accepted', () => proxy.connections === 2)
  expect(heard()).toBe('')
  proxy.fault = 'pass'
  await waitFor('both answers', () => old.said() === 'OLD' && fresh.said() === 'NEW')
})

test('halfClose: the client gets the end and can still send', async () => {
  const { proxy, heard } = await setUp()
  const { socket, said, ended } = await connect(proxy)
  socket.allowHalfOpen = true
  socket.write('one')
  await waitFor('an answer', () => said() === 'ONE')
  proxy.fault = 'halfClose'
  expect(await withTimeout('the end', ended)).toBe('end')
  socket.write('two')
  await waitFor('the server hears', () => heard() === 'onetwo')
})

test('trickle: bytes arrive one at a time, and all of them', async () => {
  const { proxy } = await setUp()
  const { socket, said } = await connect(proxy)
  proxy.fault = 'trickle'
  let chunks = 0
  socket.on('data', () => chunks++)
  socket.write('hello')
  await waitFor('the answer', () => said() === 'HELLO')
  expect(chunks).toBeGreaterThan(1)
})

test('reset: old and new connections are reset', async () => {
  const { proxy } = await setUp()
  const { socket, said, ended } = await connect(proxy)
  socket.write('one')
  await waitFor('an answer', () => said() === 'ONE')
  proxy.fault = 'reset'
  expect(await withTimeout('the end', ended)).toBe('reset')
  const fresh = createConnection({ port: proxy.port, host: '127.0.0.1' })
  await withTimeout('the end', new Promise((resolve) => fresh.on('error', resolve).on('close', resolve)))
})
