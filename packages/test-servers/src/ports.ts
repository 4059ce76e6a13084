import { randomInt } from 'node:crypto'
import { once } from 'node:events'
import { mkdirSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { createConnection, createServer } from 'node:net'
import { tmpdir, userInfo } from 'node:os'
import { join } from 'node:path'

/**
 * The range ends below the ports of outgoing connections (ip(7): from 32768 on). Such a connection could take the port of a
 * server that is not running, and a client that connects to its own local port would be connected to itself.
 */
const LOWEST = 10_000
const HIGHEST = 32_767
const MAX_TRIES = 1_000

/** Holds a file for each reserved port, which contains the id of its process. Other processes get other ports. */
const RESERVED = join(tmpdir(), `zyqueue-test-ports-${userInfo().uid}`)

let reserved: string[] | undefined

/** A free port of the loopback interface. No other process gets it from this function while this process lives. */
export async function freePort(): Promise<number> {
  reserved ??= startReservations()
  for (let tries = 0; tries < MAX_TRIES; tries++) {
    const port = randomInt(LOWEST, HIGHEST + 1)
    const file = join(RESERVED, String(port))
    if (!reserve(file)) continue
    reserved.push(file)
    if (await isFree(port)) return port
  }
  throw new Error(`None of ${MAX_TRIES} random ports from ${LOWEST} to ${HIGHEST} is free.`)
}

/** The reservations of this process: none yet. They are deleted when it exits or, if it was killed, when another process starts. */
function startReservations(): string[] {
  mkdirSync(RESERVED, { recursive: true })
  for (const name of readdirSync(RESERVED)) deleteIfStale(join(RESERVED, name))
  const own: string[] = []
  process.once('exit', () => {
    for (const file of own) rmSync(file, { force: true })
  })
  return own
}

function reserve(file: string): boolean {
  try {
    writeFileSync(file, String(process.pid), { flag: 'wx' })
    return true
  } catch (error) {
    if (codeOf(error) === 'EEXIST') return false
    throw error
  }
}

function deleteIfStale(file: string): void {
  try {
    if (!isAlive(Number(readFileSync(file, 'utf8')))) rmSync(file, { force: true })
  } catch {
    // Its process has just exited and deleted the file.
  }
}

async function isFree(port: number): Promise<boolean> {
  const server = createServer().listen(port, '127.0.0.1')
  try {
    await once(server, 'listening')
  } catch (error) {
    if (codeOf(error) === 'EADDRINUSE') return false
    throw error
  }
  server.close()
  await once(server, 'close')
  return true
}

/** The id 0, from a file that is still empty, is the group of this process, so it counts as alive. */
function isAlive(pid: number): boolean {
  try {
    process.kill(pid, 0)
    return true
  } catch (error) {
    return codeOf(error) === 'EPERM'
  }
}

function codeOf(error: unknown): unknown {
  return error instanceof Error && 'code' in error ? error.code : undefined
}

/** Sends `request` to a loopback port and resolves to the first bytes of the answer. Rejects after `timeoutMs`. */
export async function ask(port: number, request: string | Uint8Array, timeoutMs = 10_000): Promise<Buffer> {
  const socket = createConnection({ host: '127.0.0.1', port })
  try {
    socket.write(request)
    const signal = AbortSignal.timeout(timeoutMs)
    const closed = once(socket, 'close', { signal }).then(() => {
      throw new Error(`The server on port ${port} closed the connection without an answer.`)
    })
    const [answer] = await Promise.race([once(socket, 'data', { signal }), closed])
    return Buffer.from(answer)
  } finally {
    socket.destroy()
  }
}
