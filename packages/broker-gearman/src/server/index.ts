/**
 * A Gearman job server for development: `zyqueue gearmand`. It speaks the binary protocol and the text commands, and keeps its
 * jobs in the memory of its process.
 */
import { once } from 'node:events'
import { createServer, type Server, type Socket } from 'node:net'
import { writeBounded } from './bounds.ts'
import { runCommand } from './commands.ts'
import { JobTable } from './jobs.ts'
import { Peer } from './peer.ts'

export interface JobServerOptions {
  /** Default: 4730. 0 means any free port. */
  readonly port?: number
  /** Default: 127.0.0.1. The server has no password: every client that reaches it can run and delete jobs. */
  readonly host?: string
}

export interface JobServer extends AsyncDisposable {
  readonly host: string
  readonly port: number
  /** Resolves when the server has ended, by `close` or by the command `shutdown`. */
  readonly ended: Promise<void>
  /** Ends the server. Its jobs are lost. Idempotent. */
  close(): Promise<void>
}

/** The longest line of a text command. */
const MAX_LINE = 4_096

/** Resolves when the server listens. Rejects with an error of Node, such as EADDRINUSE. */
export async function startJobServer({ port = 4730, host = '127.0.0.1' }: JobServerOptions = {}): Promise<JobServer> {
  const server = createServer({ noDelay: true })
  const jobs = new JobTable()
  const peers = new Set<Peer>()
  const sockets = new Set<Socket>()
  let connections = 0
  const shutDown = (): void => {
    server.close()
    for (const socket of sockets) socket.end(() => socket.destroy())
  }
  server.on('connection', (socket) => {
    sockets.add(socket)
    const descriptor = ++connections
    socket.on('error', () => socket.destroy())
    socket.on('close', () => sockets.delete(socket))
    socket.once('data', (first) => {
      // The binary protocol begins with a NUL, and a text command with a letter.
      if (first[0] !== 0) return readLines(socket, first, (line) => runCommand(line, jobs, peers, shutDown))
      const peer = new Peer(socket, jobs, descriptor)
      peers.add(peer)
      socket.on('close', () => {
        peers.delete(peer)
        peer.leave()
      })
      const read = (chunk: Buffer): void => {
        peer.read(chunk)
        pauseUntilRead(socket)
      }
      socket.on('data', read)
      read(first)
    })
  })
  const ended = new Promise<void>((resolve) => {
    server.once('close', () => resolve())
  })
  server.listen(port, host)
  await once(server, 'listening')
  const close = async (): Promise<void> => {
    shutDown()
    for (const socket of sockets) socket.destroy()
    await ended
  }
  return { host, port: portOf(server), ended, close, [Symbol.asyncDispose]: close }
}

/** Runs the text commands of a connection. Closes it if a line is not for this server, or if the client does not read. */
function readLines(socket: Socket, first: Buffer, reply: (line: string) => string | undefined): void {
  let partial = ''
  const read = (chunk: Buffer): void => {
    const lines = (partial + chunk.toString()).split('\n')
    partial = lines.pop() ?? ''
    for (const line of lines) {
      if (socket.destroyed) return
      if (line.trim() === '') continue
      const answer = line.length > MAX_LINE ? undefined : reply(line)
      if (answer === undefined) socket.destroy()
      else writeBounded(socket, [answer])
    }
    if (partial.length > MAX_LINE) socket.destroy()
    pauseUntilRead(socket)
  }
  socket.on('data', read)
  read(first)
}

/** Stops reading the requests of a client that does not read its answers. */
function pauseUntilRead(socket: Socket): void {
  if (!socket.writableNeedDrain) return
  socket.pause()
  socket.once('drain', () => socket.resume())
}

function portOf(server: Server): number {
  const address = server.address()
  if (address === null || typeof address === 'string') throw new Error('The job server has no TCP port')
  return address.port
}
