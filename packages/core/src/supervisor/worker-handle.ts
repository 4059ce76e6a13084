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

/** The program of a worker process, from this copy of core. */
const PROGRAM = fileURLToPath(new URL('./worker-process.js', import.meta.url))
/** A process is killed if it runs for this time longer than it may after `drain` or `stop`. */
const END_MARGIN_MS = 2_000

/** `ending`: the process takes no more jobs, because the supervisor or the worker itself ends it. */
type WorkerStage = 'starting' | 'ready' | 'ending' | 'ended'

/** How a worker process ended. */
export interface WorkerEnd {
  /** For logs: `with exit code 3`, `by SIGKILL`. */
  readonly how: string
  /** True if the supervisor ended the process, or the process announced its end. */
  readonly expected: boolean
  /** The jobs that ran at the end of the process. Each of them may be the cause. Empty if the cause is known. */
  readonly killedJobs: readonly LedgerEntry[]
  /** The jobs that still ran when the process was killed because it did not end in time. */
  readonly cutShort: readonly LedgerEntry[]
}

export interface WorkerHandleEvents {
  onReady(message: Extract<ToSupervisor, { type: 'ready' }>): void
  onConsumers(): void
  onRetiring(reason: string): void
  onFatal(message: FatalMessage): void
  onEnd(end: WorkerEnd): void
}

/** The supervisor's handle of one worker process. */
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
  /** When the last message was read. It may have arrived earlier. */
  #lastMessageAt = performance.now()
  #freeAt = 0
  #readyAt: number | undefined
  #idleMs = 0
  #done = 0
  #jobs = 0
  #dead = 0
  #killTimer: NodeJS.Timeout | undefined

  constructor(start: StartMessage, graceMs: number, events: WorkerHandleEvents) {
    this.name = start.name
    this.#graceMs = graceMs
    try {
      this.#child = fork(PROGRAM, [], {
        // Tasks must not write to the supervisor's stdout, because its output may be read by a program.
        stdio: ['ignore', 2, 2, 'ipc', this.#ledgerFile],
        execArgv: inheritedArguments(),
        // A process group of its own, so that `kill` also ends the processes that handlers have started. On Windows it would be
        // a console window.
        detached: process.platform !== 'win32',
      })
    } catch (error) {
      closeSync(this.#ledgerFile)
      throw error
    }
    this.#child.on('message', (message) => this.#receive(message, events))
    // The `close` event below reports the end of the process.
    this.#child.on('error', () => {})
    // A process drains when its channel closes. Most often it is about to end.
    this.#child.on('disconnect', () => {
      if (this.#killTimer === undefined) this.#killIn(this.#graceMs + END_MARGIN_MS)
    })
    if (this.#child.pid === undefined) this.#child.once('error', (error) => this.#end(messageOf(error), events))
    // At `exit`, the last messages may not be read yet.
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

  /** The number of ended attempts in the last heartbeat. */
  get done(): number {
    return this.#done
  }

  /** The number of ended jobs in the last heartbeat. */
  get jobs(): number {
    return this.#jobs
  }

  /** The number of dead letters in the last heartbeat. */
  get dead(): number {
    return this.#dead
  }

  /** How long the process has held no job, in ms. 0 if it may hold one. */
  get idleMs(): number {
    return this.#stage === 'ready' ? this.#idleMs : 0
  }

  /** The time since the last message, in ms. */
  get silentMs(): number {
    return performance.now() - this.#lastMessageAt
  }

  get hardTimeouts(): boolean {
    return this.#hardTimeouts
  }

  /** The last time at which its event loop is known to have run, in ms on the host's monotonic clock. */
  get freeAt(): number {
    return this.#freeAt
  }

  /** The time since the start of the process, in ms. */
  get ageMs(): number {
    return performance.now() - this.#startedAt
  }

  /** The time since the process became ready, in ms. 0 before. */
  get upMs(): number {
    return this.#readyAt === undefined ? 0 : performance.now() - this.#readyAt
  }

  /** Set if the process was killed because of a hard timeout. */
  get killDecision(): KillDecision<LedgerEntry> | undefined {
    return this.#killDecision
  }

  /** The running jobs, read from the ledger. */
  running(): readonly LedgerEntry[] {
    return this.#stage === 'ended' ? [] : readLedger(this.#ledgerFile)
  }

  /**
   * Ends the process. Kills it if it does not end in time: after the grace period for `drain`, after two seconds for
   * `stop`.
   */
  end(how: 'drain' | 'stop'): void {
    if (this.#stage === 'ended') return
    this.#stage = 'ending'
    this.#endRequested = true
    this.#send({ type: how })
    this.#killIn(how === 'drain' ? this.#graceMs + END_MARGIN_MS : END_MARGIN_MS)
  }

  /** Kills the process because of a hard timeout. */
  killFor(decision: KillDecision<LedgerEntry>): void {
    this.#killDecision = decision
    this.kill()
  }

  /** Kills the process and its process group: also the processes that its handlers have started. */
  kill(): void {
    this.#child.kill('SIGKILL')
    this.#killGroup()
  }

  #killGroup(): void {
    const { pid } = this.#child
    if (pid === undefined || process.platform === 'win32') return
    try {
      process.kill(-pid, 'SIGKILL')
    } catch {
      // The group is empty, or its processes have changed their user.
    }
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
    // The jobs of these processes run again elsewhere.
    if (!expected || this.#endRequested) this.#killGroup()
    events.onEnd({ how, expected, killedJobs, cutShort: this.#outOfTime ? running : [] })
  }

  #receive(received: unknown, events: WorkerHandleEvents): void {
    const { success, data: message } = toSupervisorSchema.safeParse(received)
    // Task code may send other messages on the channel.
    if (!success || this.#stage === 'ended') return
    this.#lastMessageAt = performance.now()
    switch (message.type) {
      case 'ready':
        this.#hardTimeouts = message.hardTimeouts
        // A process that is ending does not become ready.
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
        this.#jobs = message.jobs
        this.#dead = message.dead
        this.#idleMs = message.idleMs
        return
      case 'retiring':
        // A process that ends before it is ready has failed.
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
