import type { DeadLetter, Headers, OutboundMessage, QueueStats, StoredJob } from '../contract/index.ts'
import { NO_HEADERS } from '../messages/envelope.ts'
import type { Clock } from './clock.ts'
import { Heap, type HeapItem } from './heap.ts'

/** How long the id of a stored message is kept for deduplication. */
const idempotenceMs = 600_000

/** One job in any state: ready, delayed, held or dead. */
export interface MemoryJob extends HeapItem {
  readonly id: string
  readonly queue: MemoryQueue
  readonly body: Uint8Array
  readonly priority: number
  readonly storedAtMs: number
  headers: Headers
  deliveryCount: number
  readyAtMs: number
  /** Its position within its priority: lower first. */
  place: number
}

/** A listener for the jobs of a queue. */
export interface QueueListener {
  /** Takes jobs if it has room. Returns true if it took some. */
  wake(): boolean
}

interface Death {
  readonly job: MemoryJob
  readonly reason: string
  readonly diedAtMs: number
}

/** The jobs of one queue. The taker of a job must call one of `forget`, `giveBack` or `bury`. */
export class MemoryQueue {
  readonly name: string
  readonly #clock: Clock
  readonly #ready = new Heap<MemoryJob>((a, b) =>
    a.priority === b.priority ? a.place < b.place : a.priority > b.priority,
  )
  readonly #delayed = new Heap<MemoryJob>((a, b) =>
    a.readyAtMs === b.readyAtMs ? a.place < b.place : a.readyAtMs < b.readyAtMs,
  )
  readonly #dead = new Map<string, Death>()
  /**
   * The time at which each id was stored, the oldest first. A retried publish is recognised by its id, also if the job is
   * done.
   */
  readonly #storedIds = new Map<string, number>()
  readonly #listeners = new Set<QueueListener>()
  #active = 0
  #places = 0
  #timer: { readonly dueAtMs: number; readonly cancel: () => void } | undefined

  constructor(name: string, clock: Clock) {
    this.name = name
    this.#clock = clock
  }

  /** Stores a message if its id was not stored recently. Call `wake` after it. */
  store(message: OutboundMessage): void {
    const nowMs = this.#clock.now()
    for (const [id, storedAtMs] of this.#storedIds) {
      if (storedAtMs > nowMs - idempotenceMs) break
      this.#storedIds.delete(id)
    }
    if (this.#storedIds.has(message.id)) return
    this.#storedIds.set(message.id, nowMs)
    const job: MemoryJob = {
      id: message.id,
      queue: this,
      // `slice` of a Buffer would be a view of the caller's bytes.
      body: new Uint8Array(message.body),
      priority: message.priority,
      storedAtMs: nowMs,
      headers: copyOfHeaders(message.headers),
      deliveryCount: 0,
      readyAtMs: nowMs + message.delayMs,
      place: this.#places++,
      heapIndex: -1,
    }
    this.#put(job, message.delayMs)
  }

  hasReady(): boolean {
    this.#promote()
    return this.#ready.size > 0
  }

  take(): MemoryJob | undefined {
    this.#promote()
    const job = this.#ready.shift()
    if (job !== undefined) this.#active += 1
    return job
  }

  /** Deletes a taken job. */
  forget(): void {
    this.#active -= 1
  }

  /** Returns a taken job to its position, or to the delayed jobs. Call `wake` after it. */
  giveBack(job: MemoryJob, delayMs: number): void {
    this.#active -= 1
    this.#put(job, delayMs)
  }

  /** Moves a taken job to the dead letters. */
  bury(job: MemoryJob, reason: string): void {
    this.#active -= 1
    this.#dead.set(job.id, { job, reason, diedAtMs: this.#clock.now() })
  }

  /** Offers the ready jobs to the listeners in turn. */
  wake(): void {
    for (const listener of this.#listeners) {
      if (!this.hasReady()) return
      if (!listener.wake()) continue
      this.#listeners.delete(listener)
      this.#listeners.add(listener)
    }
  }

  addListener(listener: QueueListener): void {
    this.#listeners.add(listener)
    this.#arm()
  }

  removeListener(listener: QueueListener): void {
    this.#listeners.delete(listener)
    this.#arm()
  }

  /** Deletes the ready and delayed jobs. Returns their number. */
  purge(): number {
    const count = this.#ready.size + this.#delayed.size
    this.#ready.clear()
    this.#delayed.clear()
    this.#arm()
    return count
  }

  /** The ready jobs, then the delayed jobs, each in the order in which they will be taken. */
  waiting(): readonly StoredJob[] {
    this.#promote()
    return [...this.#ready.sorted().map(storedJob('ready')), ...this.#delayed.sorted().map(storedJob('delayed'))]
  }

  /** Deletes the given jobs if they are ready or delayed. Returns the number of deleted jobs. */
  cancel(ids: readonly string[]): number {
    let count = 0
    for (const heap of [this.#ready, this.#delayed]) {
      for (const job of heap.sorted().filter(({ id }) => ids.includes(id))) {
        heap.remove(job)
        count++
      }
    }
    this.#arm()
    return count
  }

  /** Makes the given jobs ready if they are delayed. Returns their number. Call `wake` after it. */
  promote(ids: readonly string[]): number {
    const jobs = this.#delayed.sorted().filter(({ id }) => ids.includes(id))
    for (const job of jobs) this.#makeReady(job)
    this.#arm()
    return jobs.length
  }

  stats(): QueueStats {
    this.#promote()
    let oldestStoredAtMs = Number.POSITIVE_INFINITY
    for (const { storedAtMs } of this.#ready.values()) oldestStoredAtMs = Math.min(oldestStoredAtMs, storedAtMs)
    return {
      name: this.name,
      ready: this.#ready.size,
      delayed: this.#delayed.size,
      active: this.#active,
      dead: this.#dead.size,
      workers: this.#listeners.size,
      ...(this.#ready.size > 0 && { oldestStoredAtMs: Math.floor(oldestStoredAtMs) }),
    }
  }

  deadLetters(limit: number): readonly DeadLetter[] {
    const newest = [...this.#dead.values()].toReversed().slice(0, limit)
    return newest.map(({ job, reason, diedAtMs }) => ({
      id: job.id,
      queue: this.name,
      reason,
      headers: job.headers,
      body: job.body.slice(),
      diedAtMs,
    }))
  }

  /** Makes dead letters ready, at the end of the queue. Call `wake` after it. */
  requeueDead(ids: readonly string[] | undefined): number {
    const deaths = this.#exhume(ids)
    for (const { job } of deaths) {
      job.deliveryCount = 0
      job.place = this.#places++
      this.#put(job, 0)
    }
    return deaths.length
  }

  purgeDead(ids: readonly string[] | undefined): number {
    return this.#exhume(ids).length
  }

  #exhume(ids: readonly string[] | undefined): readonly Death[] {
    const deaths: Death[] = []
    for (const id of ids ?? [...this.#dead.keys()]) {
      const death = this.#dead.get(id)
      if (death === undefined) continue
      this.#dead.delete(id)
      deaths.push(death)
    }
    return deaths
  }

  #put(job: MemoryJob, delayMs: number): void {
    if (delayMs <= 0) {
      this.#ready.push(job)
      return
    }
    job.readyAtMs = this.#clock.now() + delayMs
    this.#delayed.push(job)
    this.#arm()
  }

  /** Makes due delayed jobs ready, at the end of the queue. */
  #promote(): void {
    const first = this.#delayed.first()
    if (first === undefined) return
    const nowMs = this.#clock.now()
    for (let job: MemoryJob | undefined = first; job !== undefined && job.readyAtMs <= nowMs;) {
      this.#makeReady(job)
      job = this.#delayed.first()
    }
  }

  #makeReady(job: MemoryJob): void {
    this.#delayed.remove(job)
    job.place = this.#places++
    this.#ready.push(job)
  }

  /** Sets one timer for the next delayed job if there is a listener. */
  #arm(): void {
    const next = this.#listeners.size > 0 ? this.#delayed.first() : undefined
    if (this.#timer?.dueAtMs === next?.readyAtMs) return
    this.#timer?.cancel()
    this.#timer = undefined
    if (next === undefined) return
    const onTimer = (): void => {
      this.#timer = undefined
      this.wake()
      this.#arm()
    }
    const ms = Math.max(0, next.readyAtMs - this.#clock.now())
    this.#timer = { dueAtMs: next.readyAtMs, cancel: this.#clock.setTimer(onTimer, ms) }
  }
}

/** A job in the form of the administration. */
export function storedJob(state: StoredJob['state']): (job: MemoryJob) => StoredJob {
  return ({ id, queue, headers, body, priority, storedAtMs, readyAtMs }) => {
    const job = { id, queue: queue.name, state, headers, body: body.slice(), priority, storedAtMs }
    return state === 'delayed' ? { ...job, readyAtMs } : job
  }
}

/** Copies headers into a frozen object without a prototype. */
export function copyOfHeaders(...sources: readonly Headers[]): Headers {
  if (sources.every((source) => source === NO_HEADERS)) return NO_HEADERS
  const copy: Record<string, string> = Object.create(null)
  return Object.freeze(Object.assign(copy, ...sources))
}
