import { fork, type ChildProcess } from 'node:child_process'
import { once } from 'node:events'
import { setTimeout as sleep } from 'node:timers/promises'
import { fileURLToPath } from 'node:url'
import { report, type Command, type Measurement } from './messages.ts'

/** The longest duration of a command, in ms. */
const ANSWER_TIMEOUT_MS = 60_000

/** The harness's side of a contestant process. It executes one command at a time; only `stop` may be sent during a command. */
export class ContestantProcess implements AsyncDisposable {
  readonly #child: ChildProcess
  #waiting = new Deferred()
  #output = ''
  /** The number of jobs that the running command has done so far. */
  progress = 0
  onProgress: () => void = () => {}

  private constructor(modulePath: string, target: string) {
    const entry = fileURLToPath(new URL('./child.js', import.meta.url))
    // The output of a peer is shown only if its process fails.
    this.#child = fork(entry, [modulePath, target], { stdio: ['ignore', 'pipe', 'pipe', 'ipc'] })
    for (const stream of [this.#child.stdout, this.#child.stderr])
      stream?.on('data', (chunk: Buffer) => (this.#output = (this.#output + chunk.toString()).slice(-2_000)))
    this.#child.on('message', (message) => this.#onMessage(report.parse(message)))
    this.#child.once('exit', (code, signal) => this.#fail(`The contestant ended (${signal ?? code}):\n${this.#output}`))
  }

  /** Starts a contestant. Resolves when it has opened its queue. */
  static async start(modulePath: string, target: string): Promise<ContestantProcess> {
    const started = new ContestantProcess(modulePath, target)
    try {
      await started.#answer()
      return started
    } catch (error) {
      await started[Symbol.asyncDispose]()
      throw error
    }
  }

  get pid(): number {
    return this.#child.pid ?? 0
  }

  async call(order: Command): Promise<Measurement> {
    this.#waiting = new Deferred()
    this.progress = 0
    this.#child.send(order)
    const answer = await this.#answer()
    if (answer === undefined) throw new Error('The contestant sent no measurement.')
    return answer
  }

  /** Ends the running command, which then answers. */
  stop(): void {
    this.#child.send({ do: 'stop' })
  }

  async [Symbol.asyncDispose](): Promise<void> {
    if (this.#child.exitCode !== null || this.#child.signalCode !== null) return
    const ended = once(this.#child, 'exit')
    this.#child.kill('SIGKILL')
    await ended
  }

  async #answer(): Promise<Measurement | undefined> {
    const late = new AbortController()
    const tooLate = async (): Promise<never> => {
      await sleep(ANSWER_TIMEOUT_MS, undefined, { signal: late.signal })
      throw new Error(`The contestant did not answer within ${ANSWER_TIMEOUT_MS / 1000} s:\n${this.#output}`)
    }
    try {
      return await Promise.race([this.#waiting.promise, tooLate()])
    } finally {
      late.abort()
    }
  }

  #onMessage(message: ReturnType<typeof report.parse>): void {
    switch (message.is) {
      case 'ready':
        return this.#waiting.resolve(undefined)
      case 'answer':
        return this.#waiting.resolve(message.measurement)
      case 'progress':
        this.progress = message.count
        return this.onProgress()
      case 'failure':
        return this.#fail(message.message)
    }
  }

  #fail(message: string): void {
    this.#waiting.promise.catch(() => {}) // A failure between two commands has no caller.
    this.#waiting.reject(new Error(message))
  }
}

/** `Promise.withResolvers`, which Node 20 does not have. */
class Deferred {
  resolve: (answer: Measurement | undefined) => void = () => {}
  reject: (error: Error) => void = () => {}
  readonly promise = new Promise<Measurement | undefined>((resolve, reject) => {
    this.resolve = resolve
    this.reject = reject
  })
}
