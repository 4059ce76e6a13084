import { once } from 'node:events'
import { createConnection } from 'node:net'
import { createMemoryBroker } from '@zyqueue/core/testing'
import { expect, test } from 'vitest'
import { behindProxies } from '../src/index.ts'

/** Whether anybody listens on this port of loopback. */
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

test('each broker has proxies of its own, until they are closed', async () => {
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

test('a broker that cannot be made leaves no proxy behind', async () => {
  let ports: readonly number[] = []
  const { createBroker } = behindProxies(
    () => [1, 2],
    (own) => {
      ports = own
      throw new Error('as it was told to')
    },
  )
  await expect(createBroker()).rejects.toThrow('as it was told to')
  expect(await Promise.all(ports.map(isOpen))).toEqual([false, false])
})
