/**
 * A Gearman job server for people without one: `zyqueue gearmand`. It speaks the same protocol to every Gearman program, and
 * keeps its jobs in the memory of its process.
 */
import { once } from 'node:events'
import { createServer, type Server, type Socket } from 'node:net'
import { answer } from './commands.ts'
import { Jobs } from './jobs.ts'
import { Peer } from './peer.ts'

export interface JobServerOptions {
  /** Default: 4730. 0 is any that is free. */
  readonly port?: number
  /** Default: 127.0.0.1. It asks nobody for a password: whoever reaches it may run and delete jobs. */
  readonly host?: string
}

export interface JobServer extends AsyncDisposable {
  readonly host: string
  readonly port: number
  /** Resolves when it has ended, whoever asked for that. */
  readonly ended: Promise<void>
  /** Ends it, with all its jobs. Idempotent. */
  close(): Promise<void>
}

/** The longest line of an operator. */
const MAX_LINE = 4_096

/** Resolves when it listens. Rejects with the error of Node, such as EADDRINUSE. */
export async function startJobServer({ port = 4730, host = '127.0.0.1' }: JobServerOptions = {}): Promise<JobServer> {
  const server = createServer({ noDelay: true })
  const jobs = new Jobs()
  const peers = new Set<Peer>()
  const sockets = new Set<Socket>()
  let connections = 0
  const end = (): void => {
    server.close()
    for (const socket of sockets) socket.end(() => socket.destroy())
  }
  server.on('connection', (socket) => {
    sockets.add(socket)
    connections++
    const descriptor = connections
    socket.on('error', () => socket.destroy())
    socket.on('close', () => sockets.delete(socket))
    socket.once('data', (first) => {
      // What begins with a NUL is the binary protocol; an operator begins with a word.
      if (first[0] !== 0) return speakText(socket, first, (line) => answer(line, jobs, peers, end))
      const peer = new Peer(socket, jobs, descriptor)
      peers.add(peer)
      socket.on('close', () => {
        peers.delete(peer)
        peer.leave()
      })
      socket.on('data', (chunk) => peer.read(chunk))
      peer.read(first)
    })
  })
  const ended = new Promise<void>((resolve) => {
    server.once('close', () => resolve())
  })
  server.listen(port, host)
  await once(server, 'listening')
  const close = async (): Promise<void> => {
    end()
    for (const socket of sockets) socket.destroy()
    await ended
  }
  return {
    host,
    port: portOf(server),
    ended,
    close,
    [Symbol.asyncDispose]: close,
  }
}

function speakText(socket: Socket, first: Buffer, reply: (line: string) => string): void {
  let partial = ''
  const read = (chunk: Buffer): void => {
    const lines = (partial + chunk.toString()).split('\n')
    partial = lines.pop() ?? ''
    if (partial.length > MAX_LINE) socket.destroy()
    for (const line of lines) if (line.trim() !== '') socket.write(reply(line))
  }
  socket.on('data', read)
  read(first)
}

function portOf(server: Server): number {
  const address = server.address()
  if (address === null || typeof address === 'string') throw new Error('The job server has no port')
  return address.port
}
