import assert from 'node:assert/strict'
import { once } from 'node:events'
import { createServer, Socket, type AddressInfo } from 'node:net'
import { NatsConnectionImpl } from '@nats-io/transport-node'
import { expect, onTestFinished, test } from 'vitest'
import { Session } from '../src/session.ts'

const INFO = 'INFO {"server_id":"one","version":"2.9.10","proto":1,"headers":true,"max_payload":1048576}\r\n'

// An uncaught error would end a user's process. Here Vitest reports it and fails the run.
test('a connection that the server ends while a request is written is closed without an uncaught error', async () => {
  let peer: Socket | undefined
  const server = createServer((socket) => {
    peer = socket
    socket.write(INFO)
    socket.on('data', (data) => data.includes('PING') && socket.write('PONG\r\n'))
  })
  onTestFinished(() => void server.close())
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  const { port } = server.address() as AddressInfo

  const session = await Session.open({ servers: `127.0.0.1:${String(port)}` })
  const socket = socketOf(session)
  const ended = once(socket, 'end')
  peer?.end()
  await ended
  expect(socket).toMatchObject({ writableEnded: true, destroyed: false })
  const asked = session.request('no.subscriber', '').catch((error: unknown) => error)
  await Promise.resolve() // The client writes it in a microtask.
  await session.close()
  expect(await asked).toMatchObject({ code: 'ZYQ_CONNECTION_LOST' })
})

/** The socket of the connection, which the client's types hide. */
function socketOf({ connection }: Session): Socket {
  assert(connection instanceof NatsConnectionImpl)
  const { transport } = connection.protocol
  assert('socket' in transport && transport.socket instanceof Socket)
  return transport.socket
}
