import { setImmediate as nextTurn } from 'node:timers/promises'
import { z } from 'zod'
import type {
  Broker,
  BrokerPlugin,
  Consumer,
  Delivery,
  Headers,
  OutboundMessage,
  QueueSpec,
} from '../contract/index.ts'
import { ConfigError } from '../errors.ts'
import { CHOICE, DIVERT } from '../internals.ts'
import { MAX_TIMER_MS } from '../limits.ts'
import { safeLogger, silentLogger, type Logger, type LoggerLike } from '../logger.ts'
import { decodeData, HEADER, timeHeader, withHeaders } from '../messages/envelope.ts'
import type { Middleware, RunMiddleware } from '../middleware/middleware.ts'
import { Postpone } from '../middleware/signals.ts'
import { parseOptions } from '../parse-options.ts'
import { closeProducer, producerFor } from '../producer/producers.ts'
import type { AnyTask } from '../tasks/task.ts'
import { Execution, type Refusal, type Work } from '../worker/execution.ts'
import { logJobEnd } from '../worker/job-end-log.ts'
import { WorkerHooks } from '../worker/worker-hooks.ts'
import { GIVE_BACK, type Outcome } from '../worker/outcome.ts'
import { createVirtualClock, type VirtualClock } from './clock.ts'
import { Heap, type HeapItem } from './heap.ts'
import { createMemoryBroker } from './memory-broker.ts'
import { createMemoryStore } from './memory-store.ts'

export interface TestQueueOptions {
  /** The tasks whose jobs go to this queue instead of their brokers. A task can be in one test queue at a time. */
  readonly tasks: readonly AnyTask[]
  /** Wraps every task's own middleware, like a worker's middleware. */
  readonly middleware?: readonly Middleware[]
  /** Default: logs nothing. */
  readonly logger?: LoggerLike
}

/** The state of one submitted job. */
export interface TestJob {
  readonly id: string
  /** The name of the task. */
  readonly task: string
  readonly queue: string
  /** The submitted data, encoded and decoded as JSON. */
  readonly data: unknown
  /**
   * `waiting`: for `run` or its delay. `done`: the handler returned or discarded it. `expired`: it is older than its
   * `expiresMs`. `dead`: it is a dead letter.
   */
  readonly state: 'waiting' | 'running' | 'done' | 'expired' | 'dead'
  /** When a waiting job is ready, in ms of the queue's clock. */
  readonly dueAtMs: number
  /** The number of ended attempts. */
  readonly attempts: number
  /** The handler's result. */
  readonly result: unknown
  /** The error of each failed attempt, in order. */
  readonly errors: readonly unknown[]
  /** The reason of a dead job. It begins with a `ZYQ_` code. */
  readonly reason: string | undefined
}

/** A queue for tests of tasks: in memory, with a clock that the test advances. Jobs run only in `run` and `advance`. */
export interface TestQueue extends AsyncDisposable {
  readonly clock: VirtualClock
  /** Runs all jobs that are ready, one after the other, and the jobs that they submit. Resolves when none is ready. */
  run(): Promise<void>
  /** Advances the clock by this many ms and runs each job when it becomes ready. */
  advance(ms: number): Promise<void>
  /** All submitted jobs in this order, or those of one task. */
  jobs(task?: AnyTask | string): readonly TestJob[]
  /** Returns the tasks to their brokers. Idempotent. */
  close(): Promise<void>
  [Symbol.asyncDispose](): Promise<void>
}

type Mutable<Type> = { -readonly [Key in keyof Type]: Type[Key] }

interface TestEntry extends HeapItem {
  readonly job: Mutable<TestJob>
  readonly errors: unknown[]
}

/**
 * Creates a queue for the jobs of tasks, so that a test can submit, run and inspect them without a server.
 *
 * ```ts
 * await using queue = createTestQueue({ tasks: [resize] })
 * await resize.submit({ file: 'a.png' })
 * await queue.run()
 * queue.jobs(resize) // [{ state: 'done', result: true, … }]
 * ```
 *
 * Delays and backoffs use its clock. Handlers and `timeoutMs` use the machine's. Hard timeouts are ignored. Throws
 * `ConfigError` if an option is unknown or a task is in another test queue.
 */
export function createTestQueue(options: TestQueueOptions): TestQueue {
  parseOptions(optionsSchema, options, 'createTestQueue')
  return new MemoryTestQueue(options)
}

const optionsSchema = z.strictObject({
  tasks: z.array(z.custom<AnyTask>(isTask, 'expected a task of queueJob or remoteTask')),
  middleware: z.unknown().optional(),
  logger: z.unknown().optional(),
})

/** Also for a task of another copy of this package. */
function isTask(value: unknown): boolean {
  return typeof value === 'object' && value !== null && 'queueSpec' in value
}

class MemoryTestQueue implements TestQueue {
  readonly clock = createVirtualClock()
  readonly #tasks: readonly AnyTask[]
  readonly #execution: Execution
  readonly #hooks: WorkerHooks
  readonly #log: Logger
  readonly #plugin: BrokerPlugin
  readonly #broker: Broker
  readonly #entries = new Map<string, TestEntry>()
  readonly #waiting = new Heap<TestEntry>((a, b) => a.job.dueAtMs < b.job.dueAtMs)
  readonly #queues = new Set<string>()
  #consumers = 0
  #last: Promise<void> = Promise.resolve()

  constructor({ tasks, middleware = [], logger = silentLogger }: TestQueueOptions) {
    const store = createMemoryStore({ clock: this.clock })
    this.#plugin = {
      kind: 'zyqueue.broker',
      apiVersion: 2,
      name: 'test',
      schemes: [],
      create: () => this.#noting(createMemoryBroker(store)),
    }
    this.#broker = createMemoryBroker(store)
    this.#log = safeLogger(logger)
    const worker = { id: 'test', name: 'test', log: this.#log }
    this.#hooks = new WorkerHooks(this.#log)
    this.#execution = new Execution(tasks, worker, [this.#note, ...middleware], () => this.clock.now())
    this.#tasks = divert(tasks, this.#plugin)
  }

  run(): Promise<void> {
    return this.#inTurn(() => this.#runReady())
  }

  advance(ms: number): Promise<void> {
    return this.#inTurn(async () => {
      const untilMs = this.clock.now() + ms
      await this.#runReady()
      for (let dueAtMs = this.#nextDueAtMs(); dueAtMs <= untilMs; dueAtMs = this.#nextDueAtMs()) {
        await this.clock.advance(dueAtMs - this.clock.now())
        await this.#runReady()
      }
      await this.clock.advance(untilMs - this.clock.now())
    })
  }

  jobs(task?: AnyTask | string): readonly TestJob[] {
    const name = typeof task === 'object' ? task.name : task
    const meant = [...this.#entries.values()].filter(({ job }) => name === undefined || job.task === name)
    return meant.map(({ job, errors }) => ({ ...job, errors: [...errors] }))
  }

  async close(): Promise<void> {
    for (const task of this.#tasks) if (task[CHOICE].server === this.#plugin) task[DIVERT](undefined)
    await closeProducer({ server: this.#plugin })
    await this.#broker.close()
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.close()
  }

  /** Runs calls one after the other, also if a test does not await them. */
  #inTurn(work: () => Promise<void>): Promise<void> {
    const turn = this.#last.then(work)
    this.#last = turn.catch(() => {})
    return turn
  }

  async #runReady(): Promise<void> {
    const producer = await producerFor({ server: this.#plugin })
    await this.#broker.connect()
    await this.#settled(() => producer.idle())
    while (this.#nextDueAtMs() <= this.clock.now()) {
      const served = this.#queues.size
      const consumer = await this.#consume()
      try {
        while (this.#queues.size === served && this.#nextDueAtMs() <= this.clock.now()) {
          const [delivery] = await consumer.receive(1, { signal: NEVER })
          if (delivery !== undefined) await this.#runOne(consumer, delivery)
          await this.#settled(() => producer.idle())
        }
      } finally {
        await consumer.close()
      }
    }
  }

  /** Waits for jobs that a handler submitted without await. */
  async #settled(idle: () => Promise<void>): Promise<void> {
    await nextTurn()
    await idle()
  }

  /** Consumes the queues that have received a job. */
  async #consume(): Promise<Consumer> {
    const queues = [...this.#queues].map((name): QueueSpec => ({ name, options: {} }))
    await this.#broker.declare(queues)
    return this.#broker.consume({
      queues,
      prefetch: 1,
      leaseMs: MAX_TIMER_MS,
      consumerId: `test-${this.#consumers++}`,
      client: { name: 'test', host: 'test', pid: process.pid },
    })
  }

  async #runOne(consumer: Consumer, delivery: Delivery): Promise<void> {
    const entry = this.#entries.get(delivery.id)
    if (entry !== undefined) {
      this.#waiting.remove(entry)
      entry.job.state = 'running'
    }
    const opened = this.#execution.open(delivery)
    const { outcome, isRun } = await this.#run(opened, delivery)
    if (entry !== undefined) this.#noteOutcome(entry, outcome, isRun)
    if (outcome.kind === 'ack') await consumer.ack([delivery])
    else if (outcome.kind === 'reject') await consumer.reject([{ delivery, ...outcome }])
    else await consumer.release([{ ...GIVE_BACK, delivery, ...outcome }])
  }

  async #run(opened: Work | Refusal, delivery: Delivery): Promise<{ outcome: Outcome; isRun: boolean }> {
    const { task } = opened
    if ('outcome' in opened) {
      const outcome = await this.#hooks.settle(task, delivery, false, opened.outcome)
      logJobEnd(this.#log, delivery, task, outcome)
      return { outcome, isRun: false }
    }
    const decision = await this.#hooks.start(opened.task, opened.job)
    if (decision !== undefined && decision !== 'start') {
      logJobEnd(this.#log, delivery, task, decision)
      return { outcome: decision, isRun: false }
    }
    const since = performance.now()
    const ended = await this.#execution.run(opened)
    const durationMs = performance.now() - since
    const outcome = await this.#hooks.settle(task, delivery, true, ended)
    logJobEnd(this.#log, delivery, task, outcome, { attempt: opened.job.attempt, durationMs })
    return { outcome, isRun: true }
  }

  #noteOutcome(entry: TestEntry, outcome: Outcome, isRun: boolean): void {
    const { job } = entry
    if (isRun && outcome.end !== 'postponed') job.attempts++
    if (outcome.kind === 'ack') job.state = outcome.end === 'expired' ? 'expired' : 'done'
    else if (outcome.kind === 'reject') {
      job.state = 'dead'
      job.reason = outcome.reason
    } else {
      job.state = 'waiting'
      job.dueAtMs = Math.ceil(this.clock.now() + outcome.delayMs)
      this.#waiting.push(entry)
    }
  }

  /** Records the results and errors of handlers, which a worker does not keep. */
  readonly #note: RunMiddleware = async ({ job }, next) => {
    const entry = this.#entries.get(job.id)
    try {
      const result = await next()
      if (entry !== undefined) entry.job.result = result
      return result
    } catch (error) {
      if (!(error instanceof Postpone)) entry?.errors.push(error)
      throw error
    }
  }

  #nextDueAtMs(): number {
    return this.#waiting.first()?.job.dueAtMs ?? Number.POSITIVE_INFINITY
  }

  /** The broker that tasks submit to. It accepts the options of any broker and records the stored jobs. */
  #noting(broker: Broker): Broker {
    const plain = ({ name }: QueueSpec): QueueSpec => ({ name, options: {} })
    return {
      name: 'test',
      capabilities: broker.capabilities,
      leases: broker.leases,
      admin: broker.admin,
      connect: () => broker.connect(),
      declare: (queues) => broker.declare(queues.map(plain)),
      publish: async (batch) => {
        const results = await broker.publish(
          batch.map((message) => ({ ...message, headers: this.#inOwnTime(message.headers), options: {} })),
        )
        for (const [index, message] of batch.entries()) {
          if (results[index]?.status === 'stored') this.#enter(message)
        }
        return results
      },
      consume: () => Promise.reject(new ConfigError('ZYQ_CONFIG', 'A test queue has no workers. Call its `run`.')),
      errorCode: (error) => broker.errorCode(error),
      close: () => broker.close(),
    }
  }

  /** Tasks calculate the time of expiry with the machine's clock. */
  #inOwnTime(headers: Headers): Headers {
    if (!(HEADER.expiresAt in headers)) return headers
    const leftMs = timeHeader(headers, HEADER.expiresAt, 0) - Date.now()
    return withHeaders(headers, { [HEADER.expiresAt]: String(Math.ceil(this.clock.now() + leftMs)) })
  }

  #enter({ id, queue, body, headers, delayMs }: OutboundMessage): void {
    const errors: unknown[] = []
    const job: Mutable<TestJob> = {
      id,
      queue,
      task: headers[HEADER.task] ?? queue,
      data: decodeData(body),
      state: 'waiting',
      // Rounded, so that the clock reaches it exactly.
      dueAtMs: Math.ceil(this.clock.now() + delayMs),
      attempts: 0,
      result: undefined,
      errors,
      reason: undefined,
    }
    const entry: TestEntry = { job, errors, heapIndex: -1 }
    this.#entries.set(id, entry)
    this.#queues.add(queue)
    this.#waiting.push(entry)
  }
}

const NEVER = new AbortController().signal

/** All of them or none. */
function divert(tasks: readonly AnyTask[], server: BrokerPlugin): readonly AnyTask[] {
  const diverted: AnyTask[] = []
  try {
    for (const task of tasks) {
      task[DIVERT]({ server })
      diverted.push(task)
    }
  } catch (error) {
    for (const task of diverted) task[DIVERT](undefined)
    throw error
  }
  return diverted
}
