import { randomInt } from 'node:crypto'
import { once } from 'node:events'
import { mkdirSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { createConnection, createServer } from 'node:net'
import { tmpdir, userInfo } from 'node:os'
import { join } from 'node:path'

/**
 * Below what the system gives to outgoing connections (ip(7): from 32768 on): one of those could take the port of a server
 * that has not started yet, or is down for a while, and a client that tries that server could even be connected to itself.
 */
const LOWEST = 10_000
const HIGHEST = 32_767
const MOST_TRIES = 1_000

/** A file for each port that a process has been given, with its id: other processes are given others. */
const TAKEN = join(tmpdir(), `zyqueue-test-ports-${userInfo().uid}`)

let taken: string[] | undefined

/** A port of the loopback interface that nobody listens on, and that nobody else is given while this process lives. */
export async function freePort(): Promise<number> {
  taken ??= begin()
  for (let tries = 0; tries < MOST_TRIES; tries++) {
    const port = randomInt(LOWEST, HIGHEST + 1)
    const file = join(TAKEN, String(port))
    if (!take(file)) continue
    taken.push(file)
    if (await isFree(port)) return port
  }
  throw new Error(`none of ${MOST_TRIES} ports is free`)
}

/** The files of this process, none yet. They go when it exits, or where it was killed, when another begins. */
function begin(): string[] {
  mkdirSync(TAKEN, { recursive: true })
  for (const name of readdirSync(TAKEN)) sweep(join(TAKEN, name))
  const own: string[] = []
  process.once('exit', () => {
    for (const file of own) rmSync(file, { force: true })
  })
  return own
}

function take(file: string): boolean {
  try {
    writeFileSync(file, String(process.pid), { flag: 'wx' })
    return true
  } catch (error) {
    if (codeOf(error) === 'EEXIST') return false
    throw error
  }
}

function sweep(file: string): void {
  try {
    if (!isAlive(Number(readFileSync(file, 'utf8')))) rmSync(file, { force: true })
  } catch {
    // Its owner has just ended, and swept itself.
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

/** Id 0, as of a file that is being written, is this process's own group. */
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

/** Sends `request` to a loopback port and resolves to the first bytes of the answer, or rejects within `timeoutMs`. */
export async function ask(port: number, request: string | Uint8Array, timeoutMs = 10_000): Promise<Buffer> {
  const socket = createConnection({ host: '127.0.0.1', port })
  try {
    socket.write(request)
    const signal = AbortSignal.timeout(timeoutMs)
    const closed = once(socket, 'close', { signal }).then(() => {
      throw new Error(`the server on port ${port} closed the connection without an answer`)
    })
    const [answer] = await Promise.race([once(socket, 'data', { signal }), closed])
    return Buffer.from(answer)
  } finally {
    socket.destroy()
  }
}
