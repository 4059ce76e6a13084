import { once } from 'node:events'
import { createConnection, createServer, type Socket } from 'node:net'
import { createMemoryBroker } from '@zyqueue/core/testing'
import { expect, test } from 'vitest'
import { behindProxies } from '../src/index.ts'

/** Whether a process listens on this port of loopback. */
async function isOpen(port: number): Promise<boolean> {
  const socket = createConnection({ port, host: '127.0.0.1' })
  try {
    await once(socket, 'connect')
    return true
  } catch {
    return false
  } finally {
    socket.destroy()
  }
}

test('each broker has its own proxies until close', async () => {
  const ports: number[] = []
  const { createBroker, close } = behindProxies(
    () => [1, 2],
    (own) => {
      ports.push(...own)
      return createMemoryBroker()
    },
  )
  await createBroker()
  await createBroker()
  expect(new Set(ports).size).toBe(4)
  expect(await Promise.all(ports.map(isOpen))).toEqual([true, true, true, true])
  await close()
  expect(await Promise.all(ports.map(isOpen))).toEqual([false, false, false, false])
})

test('a broker that cannot be created leaves no proxy open', async () => {
  let ports: readonly number[] = []
  const { createBroker } = behindProxies(
    () => [1, 2],
    (own) => {
      ports = own
      throw new Error('expected by this test')
    },
  )
  await expect(createBroker()).rejects.toThrow('expected by this test')
  expect(await Promise.all(ports.map(isOpen))).toEqual([false, false])
})

test('the hooks count, cut and heal connections and lose an answer', async () => {
  const server = createServer((socket) => socket.on('error', () => {}).pipe(socket)).listen(0, '127.0.0.1')
  await once(server, 'listening')
  const address = server.address()
  if (address === null || typeof address === 'string') throw new Error('no port')
  let port = 0
  const hooks = behindProxies(
    () => [address.port, address.port],
    ([own = 0]) => {
      port = own
      return createMemoryBroker()
    },
  )
  const broker = await hooks.createBroker()
  const echoes = (socket: Socket): Promise<boolean> => {
    socket.write('hello')
    return new Promise((resolve) => socket.once('data', () => resolve(true)).once('close', () => resolve(false)))
  }
  const connect = (): Socket => createConnection({ port, host: '127.0.0.1' }).on('error', () => {})

  const [one, other] = [connect(), connect()]
  expect([await echoes(one), await echoes(other)]).toEqual([true, true])
  expect(hooks.openConnections(broker)).toBe(2)
  const lost = hooks.loseAnswer(broker)
  expect(await echoes(one)).toBe(false)
  await lost
  expect(await echoes(other)).toBe(true)
  expect(hooks.openConnections(broker)).toBe(1)
  await hooks.killConnection(broker)
  expect(await echoes(connect())).toBe(false)
  await hooks.healConnection(broker)
  const again = connect()
  expect(await echoes(again)).toBe(true)
  again.destroy()
  await hooks.close()
  server.close()
})
