import { createConnection, createServer } from 'node:net'
import { once } from 'node:events'

/** A port of the loopback interface that nobody listens on now. Somebody may before you do. */
export async function freePort(): Promise<number> {
  const server = createServer().listen(0, '127.0.0.1')
  await once(server, 'listening')
  const address = server.address()
  server.close()
  await once(server, 'close')
  if (address === null || typeof address === 'string') throw new Error('no port')
  return address.port
}

/** Sends `request` to a loopback port and resolves to the first bytes of the answer, or rejects within `timeoutMs`. */
export async function ask(port: number, request: string | Uint8Array, timeoutMs = 1_000): Promise<Buffer> {
  const socket = createConnection({ host: '127.0.0.1', port })
  try {
    socket.write(request)
    const [answer] = await once(socket, 'data', { signal: AbortSignal.timeout(timeoutMs) })
    return Buffer.from(answer)
  } finally {
    socket.destroy()
  }
}
