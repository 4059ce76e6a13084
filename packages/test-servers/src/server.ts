import { spawn, type ChildProcess } from 'node:child_process'
import { once } from 'node:events'
import { closeSync, mkdtempSync, openSync, readFileSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { ensureInstalled, type ServerName } from './install.ts'
import { freePort } from './ports.ts'

export interface StartOptions {
  /** Additional arguments for the command line of the server. */
  readonly args?: readonly string[]
  /** Additional lines for the configuration file of the server, if it has one. */
  readonly config?: string
  readonly env?: Readonly<Record<string, string>>
}

/** A server on loopback with its own folder. */
export interface TestServer extends AsyncDisposable {
  readonly port: number
  /** The connection string. */
  readonly url: string
  /** The process of the server, which leads a process group. `restart` starts another process. */
  readonly pid: number
  /** Data, configuration and `server.log`. */
  readonly dir: string
  /** Sends the signal to the process group of the server. Resolves at once for SIGSTOP and SIGCONT, otherwise when it has ended. */
  kill(signal: NodeJS.Signals): Promise<void>
  /** Ends the server if it is running, and starts it again on the same port and data. Resolves when it answers. */
  restart(): Promise<void>
  /** Ends the server and deletes its folder. Idempotent. */
  stop(): Promise<void>
}

/** The start of one kind of server. */
export interface ServerKind {
  readonly server: ServerName
  url(port: number): string
  /** Writes the configuration into `dir` and returns the command to run. `program` is the path of the server. */
  command(at: { program: string; port: number; dir: string }): Promise<Command>
  /** Whether the server on this port answers in its protocol. Rejects or resolves to false if it does not. */
  answers(port: number): Promise<boolean>
  /** The longest start of the server, in ms. */
  readonly startMs: number
}

interface Command {
  readonly file: string
  readonly args: readonly string[]
  readonly env?: Readonly<Record<string, string>>
}

/** Starts a server in a new folder below `parent`. */
export async function startServer(kind: ServerKind, parent: string = tmpdir()): Promise<TestServer> {
  const found = await ensureInstalled(kind.server)
  if (!found.installed) throw new Error(found.remedy)
  for (let attempt = 1; ; attempt++) {
    const dir = mkdtempSync(join(parent, `zyqueue-${kind.server}-`))
    const port = await freePort()
    const server = new ServerProcess(kind, port, dir, await kind.command({ program: found.path, port, dir }))
    try {
      await server.restart()
      return server
    } catch (error) {
      // Another process may have taken the port before the server did.
      const retries = server.hasEnded && attempt < 3
      await server.stop()
      if (!retries) throw error
    }
  }
}

class ServerProcess implements TestServer {
  readonly port: number
  readonly dir: string
  readonly url: string
  readonly #kind: ServerKind
  readonly #command: Command
  #process: ChildProcess | undefined
  #guardian: ChildProcess | undefined

  constructor(kind: ServerKind, port: number, dir: string, command: Command) {
    this.#kind = kind
    this.#command = command
    this.port = port
    this.dir = dir
    this.url = kind.url(port)
  }

  get pid(): number {
    const pid = this.#process?.pid
    if (pid === undefined) throw new Error(`${this.#kind.server} is not running`)
    return pid
  }

  get hasEnded(): boolean {
    return this.#process !== undefined && hasEnded(this.#process)
  }

  async kill(signal: NodeJS.Signals): Promise<void> {
    const running = this.#process
    if (running === undefined || hasEnded(running)) return
    process.kill(-this.pid, signal)
    if (signal === 'SIGSTOP' || signal === 'SIGCONT') return
    running.ref()
    await once(running, 'exit')
  }

  async restart(): Promise<void> {
    await this.#end()
    const log = openSync(join(this.dir, 'server.log'), 'a')
    const { file, args, env } = this.#command
    const started = spawn(file, args, {
      cwd: this.dir,
      detached: true,
      env: { ...process.env, ...env },
      stdio: ['ignore', log, log],
    })
    closeSync(log)
    await once(started, 'spawn')
    started.unref()
    this.#process = started
    this.#guardian = guard(this.pid, this.dir)
    await this.#untilItAnswers(started)
  }

  async stop(): Promise<void> {
    await this.#end()
    this.#process = undefined
    rmSync(this.dir, { recursive: true, force: true, maxRetries: 5 })
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.stop()
  }

  async #end(): Promise<void> {
    const running = this.#process
    if (running !== undefined && !hasEnded(running)) {
      // Keep this process alive until the server has ended.
      running.ref()
      const ended = once(running, 'exit')
      process.kill(-this.pid, 'SIGCONT')
      process.kill(-this.pid, 'SIGTERM')
      await Promise.race([ended, sleep(10_000, undefined, { ref: false })])
      if (!hasEnded(running)) {
        process.kill(-this.pid, 'SIGKILL')
        await ended
      }
    }
    // End other processes of its group, such as RabbitMQ's port mapper.
    if (running !== undefined) await endGroup(running.pid)
    this.#guardian?.kill('SIGKILL')
    this.#guardian = undefined
  }

  async #untilItAnswers(started: ChildProcess): Promise<void> {
    const until = performance.now() + this.#kind.startMs
    for (;;) {
      if (hasEnded(started)) throw new Error(`${this.#kind.server} ended during its start:\n${this.#logTail()}`)
      if (await this.#kind.answers(this.port).catch(() => false)) return
      if (performance.now() > until)
        throw new Error(`${this.#kind.server} did not answer within ${this.#kind.startMs} ms:\n${this.#logTail()}`)
      await sleep(20)
    }
  }

  #logTail(): string {
    return readFileSync(join(this.dir, 'server.log'), 'utf8').split('\n').slice(-20).join('\n')
  }
}

function hasEnded(child: ChildProcess): boolean {
  return child.exitCode !== null || child.signalCode !== null
}

async function endGroup(leader: number | undefined): Promise<void> {
  if (leader === undefined) return
  for (let tries = 0; tries < 6_000; tries++) {
    try {
      process.kill(-leader, 'SIGKILL')
    } catch {
      return // The group has ended.
    }
    await sleep(10)
  }
  throw new Error(`The process group ${leader} did not end within a minute.`)
}

/**
 * A shell in its own session that ends the server when this process has ended, even after a SIGKILL: its standard input is a pipe
 * from this process.
 */
function guard(leader: number, dir: string): ChildProcess {
  const script = 'while read -r _; do :; done; kill -s KILL -- "-$1"; sleep 0.2; rm -rf -- "$2"'
  const guardian = spawn('sh', ['-c', script, 'zyqueue-test-server-guardian', String(leader), dir], {
    detached: true,
    stdio: ['pipe', 'ignore', 'ignore'],
  })
  guardian.unref()
  guardian.stdin.on('error', () => {}) // The pipe breaks when the guardian is killed after the server has stopped.
  return guardian
}
