import { spawn, type ChildProcess } from 'node:child_process'
import { once } from 'node:events'
import { closeSync, mkdtempSync, openSync, readFileSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { ensureInstalled, type ServerName } from './install.ts'
import { freePort } from './ports.ts'

export interface StartOptions {
  /** Further arguments of the server's command line. */
  readonly args?: readonly string[]
  /** Further lines of the server's configuration file, where it has one. */
  readonly config?: string
  readonly env?: Readonly<Record<string, string>>
}

/** A server of the test's own, on loopback, in a folder of its own. */
export interface TestServer extends AsyncDisposable {
  readonly port: number
  /** The connection string. */
  readonly url: string
  /** The server's process, which leads a process group of its own. Another one after `restart`. */
  readonly pid: number
  /** Data, configuration and `server.log`. */
  readonly dir: string
  /** Sends the signal to the server's whole process group; resolves at once for SIGSTOP and SIGCONT, else when it has ended. */
  kill(signal: NodeJS.Signals): Promise<void>
  /** Starts it again, on the same port and data, ending it first where it still runs; resolves when it answers. */
  restart(): Promise<void>
  /** Ends the server and deletes its folder. Idempotent. */
  stop(): Promise<void>
}

/** How one kind of server is started; the rest is the same for all. */
export interface ServerKind {
  readonly server: ServerName
  url(port: number): string
  /** Writes what the server needs into `dir` and says what to run. `program` is where the server was found. */
  command(at: { program: string; port: number; dir: string }): Promise<Command>
  /** Whether the server on this port answers its own protocol. Rejects, or resolves to false, while it does not. */
  answers(port: number): Promise<boolean>
  /** How long it may take to start, in ms. */
  readonly startMs: number
}

interface Command {
  readonly file: string
  readonly args: readonly string[]
  readonly env?: Readonly<Record<string, string>>
}

/** `parent` is where the server's folder is made. */
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
      // Somebody else may have taken its port before the server had it.
      const again = server.hasEnded && attempt < 3
      await server.stop()
      if (!again) throw error
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
      // A process with nothing else to do waits for it.
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
    // What the leader leaves behind in its group (RabbitMQ's port mapper) ends with it.
    if (running !== undefined) await endGroup(running.pid)
    this.#guardian?.kill('SIGKILL')
    this.#guardian = undefined
  }

  async #untilItAnswers(started: ChildProcess): Promise<void> {
    const until = performance.now() + this.#kind.startMs
    for (;;) {
      if (hasEnded(started)) throw new Error(`${this.#kind.server} ended while it started:\n${this.#lastOfLog()}`)
      if (await this.#kind.answers(this.port).catch(() => false)) return
      if (performance.now() > until)
        throw new Error(`${this.#kind.server} did not answer within ${this.#kind.startMs} ms:\n${this.#lastOfLog()}`)
      await sleep(20)
    }
  }

  #lastOfLog(): string {
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
      return // Nobody is left.
    }
    await sleep(10)
  }
  throw new Error(`the process group ${leader} does not end`)
}

/**
 * A shell in a session of its own that ends the server when this process is gone, however it went: its standard input
 * is a pipe from this process, and ends with it.
 */
function guard(leader: number, dir: string): ChildProcess {
  const script = 'while read -r _; do :; done; kill -s KILL -- "-$1"; sleep 0.2; rm -rf -- "$2"'
  const guardian = spawn('sh', ['-c', script, 'zyqueue-test-server-guardian', String(leader), dir], {
    detached: true,
    stdio: ['pipe', 'ignore', 'ignore'],
  })
  guardian.unref()
  guardian.stdin.on('error', () => {}) // The guardian was killed because the server has been stopped.
  return guardian
}
