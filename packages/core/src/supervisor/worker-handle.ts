import { fork, type ChildProcess } from 'node:child_process'
import { closeSync } from 'node:fs'
import { fileURLToPath } from 'node:url'
import { messageOf } from '../errors.ts'
import type { KillDecision } from '../worker/poison.ts'
import type { FatalMessage } from './fatal.ts'
import { openLedgerFile, readLedger, type LedgerEntry } from './ledger.ts'
import {
  toSupervisorSchema,
  type StartMessage,
  type SupervisedConsumer,
  type ToSupervisor,
  type ToWorker,
} from './ipc.ts'

/** The program that a worker process runs: this copy of core's own. */
const PROGRAM = fileURLToPath(new URL('./worker-process.js', import.meta.url))
/** What a process that was asked to end may take beyond what it was given. */
const END_MARGIN_MS = 2_000

/** `ending`: it takes no more jobs, because it was asked to or for reasons of its own. */
type WorkerStage = 'starting' | 'ready' | 'ending' | 'ended'

/** How a worker process has ended. */
export interface WorkerEnd {
  /** For people: `with exit code 3`, `by SIGKILL`. */
  readonly how: string
  /** Whether it ended as it had been asked to, or had said it would. */
  readonly expected: boolean
  /** The jobs that ran at its end, any of which may have caused it. Empty if the cause is known. */
  readonly killedJobs: readonly LedgerEntry[]
  /** The jobs that ran when the time was over that it had been given to end. */
  readonly cutShort: readonly LedgerEntry[]
}

export interface WorkerHandleEvents {
  onReady(message: Extract<ToSupervisor, { type: 'ready' }>): void
  onConsumers(): void
  onRetiring(reason: string): void
  onFatal(message: FatalMessage): void
  onEnd(end: WorkerEnd): void
}

/** One worker process, seen from its supervisor. */
export class WorkerHandle {
  readonly name: string
  readonly #graceMs: number
  readonly #child: ChildProcess
  readonly #ledgerFile: number = openLedgerFile()
  readonly #startedAt = performance.now()
  #stage: WorkerStage = 'starting'
  #consumers: readonly SupervisedConsumer[] = []
  #killDecision: KillDecision<LedgerEntry> | undefined
  #hardTimeouts = false
  #endRequested = false
  #outOfTime = false
  /** When the last message was read: it may have lain there for a while. */
  #lastMessageAt = performance.now()
  #freeAt = 0
  #readyAt: number | undefined
  #idleMs = 0
  #done = 0
  #killTimer: NodeJS.Timeout | undefined

  constructor(start: StartMessage, graceMs: number, events: WorkerHandleEvents) {
    this.name = start.name
    this.#graceMs = graceMs
    try {
      this.#child = fork(PROGRAM, [], {
        // stdin is the supervisor's, and so is stdout: what a program of documents reads there is not for tasks to write.
        stdio: ['ignore', 2, 2, 'ipc', this.#ledgerFile],
        execArgv: inheritedArguments(),
      })
    } catch (error) {
      closeSync(this.#ledgerFile)
      throw error
    }
    this.#child.on('message', (message) => this.#receive(message, events))
    // Whatever could not be done to it: its end is what counts, and is told below.
    this.#child.on('error', () => {})
    // Nothing can be said to it any more, and it drains by itself; most often it is about to end anyway.
    this.#child.on('disconnect', () => {
      if (this.#killTimer === undefined) this.#killIn(this.#graceMs + END_MARGIN_MS)
    })
    if (this.#child.pid === undefined) this.#child.once('error', (error) => this.#end(messageOf(error), events))
    // Not at `exit`: what it said last may still have to be read then.
    else
      this.#child.on('close', (code, signal) =>
        this.#end(signal === null ? `with exit code ${code}` : `by ${signal}`, events, code),
      )
    this.#send(start)
  }

  get pid(): number | undefined {
    return this.#child.pid
  }

  get stage(): WorkerStage {
    return this.#stage
  }

  get consumers(): readonly SupervisedConsumer[] {
    return this.#consumers
  }

  /** Attempts that it has ended, as far as it has said. */
  get done(): number {
    return this.#done
  }

  /** How long it has held no job, in ms; 0 if it is not known to be idle. */
  get idleMs(): number {
    return this.#stage === 'ready' ? this.#idleMs : 0
  }

  /** How long it has given no sign of life, in ms. */
  get silentMs(): number {
    return performance.now() - this.#lastMessageAt
  }

  get hardTimeouts(): boolean {
    return this.#hardTimeouts
  }

  /** When its event loop was free the last time that is known, in ms on the host's monotonic clock. */
  get freeAt(): number {
    return this.#freeAt
  }

  /** How long ago it was started, in ms. */
  get ageMs(): number {
    return performance.now() - this.#startedAt
  }

  /** How long it has been up, in ms; 0 until it is ready. */
  get upMs(): number {
    return this.#readyAt === undefined ? 0 : performance.now() - this.#readyAt
  }

  /** The decision because of which it was killed. */
  get killDecision(): KillDecision<LedgerEntry> | undefined {
    return this.#killDecision
  }

  /** The jobs that it runs. */
  running(): readonly LedgerEntry[] {
    return this.#stage === 'ended' ? [] : readLedger(this.#ledgerFile)
  }

  /** Asks it to end, and kills it where it does not: after the grace period when it is to drain, soon when it is to stop. */
  end(how: 'drain' | 'stop'): void {
    if (this.#stage === 'ended') return
    this.#stage = 'ending'
    this.#endRequested = true
    this.#send({ type: how })
    this.#killIn(how === 'drain' ? this.#graceMs + END_MARGIN_MS : END_MARGIN_MS)
  }

  /** Kills it because of jobs that have run too long. */
  killFor(decision: KillDecision<LedgerEntry>): void {
    this.#killDecision = decision
    this.kill()
  }

  kill(): void {
    this.#child.kill('SIGKILL')
  }

  #killIn(ms: number): void {
    clearTimeout(this.#killTimer)
    this.#killTimer = setTimeout(() => {
      this.#outOfTime = this.#endRequested
      this.kill()
    }, ms)
  }

  #send(message: ToWorker): void {
    if (this.#child.connected) this.#child.send(message, () => {})
  }

  #end(how: string, events: WorkerHandleEvents, code?: number | null): void {
    clearTimeout(this.#killTimer)
    const expected = this.#outOfTime || (code === 0 && this.#stage === 'ending')
    const running = this.running()
    const killedJobs = this.#outOfTime || this.#killDecision !== undefined ? [] : running
    this.#stage = 'ended'
    closeSync(this.#ledgerFile)
    events.onEnd({ how, expected, killedJobs, cutShort: this.#outOfTime ? running : [] })
  }

  #receive(received: unknown, events: WorkerHandleEvents): void {
    const { success, data: message } = toSupervisorSchema.safeParse(received)
    // Task code may use the channel for its own ends.
    if (!success || this.#stage === 'ended') return
    this.#lastMessageAt = performance.now()
    switch (message.type) {
      case 'ready':
        this.#hardTimeouts = message.hardTimeouts
        // A process that was asked to end meanwhile is not ready for jobs.
        if (this.#stage !== 'starting') return
        this.#stage = 'ready'
        this.#readyAt = performance.now()
        return events.onReady(message)
      case 'consumers':
        this.#consumers = message.consumers
        return events.onConsumers()
      case 'heartbeat':
        this.#freeAt = message.at
        this.#done = message.done
        this.#idleMs = message.idleMs
        return
      case 'retiring':
        // Before it has ever been ready, that is a failure like any other.
        if (this.#stage !== 'ready') return
        this.#stage = 'ending'
        this.#done = message.done
        return events.onRetiring(message.reason)
      case 'fatal':
        return events.onFatal(message)
    }
  }
}

/** Node's own arguments for a worker process, without a debugger's port and without a program. */
function inheritedArguments(): string[] {
  const own: string[] = []
  for (let at = 0; at < process.execArgv.length; at++) {
    const argument = process.execArgv[at] ?? ''
    if (/^(-e|-p|-pe|--eval|--print)$/.test(argument)) at++
    else if (!/^--(inspect|input-type)/.test(argument)) own.push(argument)
  }
  return own
}
