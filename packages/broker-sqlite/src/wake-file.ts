/**
 * Tells idle consumers that a job is ready. Within a process a publisher calls them; other processes watch an empty file beside
 * the database. Both are hints: if one is lost, the consumer still polls every second.
 */
import { closeSync, watch, writeSync, type FSWatcher } from 'node:fs'
import { openBeside } from './private-files.ts'
import { processState } from './process-state.ts'

/** How often an idle consumer polls, in ms. */
const POLL_MS = 1000

const TOUCH = Uint8Array.of(10)

export class WakeFile {
  readonly #place: string
  readonly #listeners = new Set<() => void>()
  /** Absent in memory. */
  readonly #database: string | undefined
  #descriptor: number | undefined
  #isOpened = false
  #watcher: FSWatcher | undefined

  /** `database` is the path of the queue file. Without it, no other process is woken. */
  constructor(database?: string) {
    const place = database ?? ':memory:'
    this.#place = place
    this.#database = database
    const all = processState.waiting.get(place) ?? new Set()
    processState.waiting.set(place, all.add(this.#wakeOwn))
  }

  /** Calls `listener` at each hint until the returned function is called. Watches the file from the first call on. */
  listen(listener: () => void): () => void {
    this.#watcher ??= this.#watch()
    this.#listeners.add(listener)
    return () => this.#listeners.delete(listener)
  }

  /** Wakes waiting consumers if one of these delays ends before their next poll. */
  wakeFor(delaysMs: readonly number[]): void {
    if (delaysMs.some((delayMs) => delayMs <= POLL_MS)) this.wake()
  }

  /** Wakes all waiting consumers, in this process and in others. */
  wake(): void {
    for (const wakeOwn of processState.waiting.get(this.#place) ?? []) wakeOwn()
    this.#open()
    if (this.#descriptor === undefined) return
    try {
      writeSync(this.#descriptor, TOUCH, 0, 1, 0)
    } catch {
      // For instance, the disk is full. The consumers still poll.
    }
  }

  close(): void {
    const all = processState.waiting.get(this.#place)
    all?.delete(this.#wakeOwn)
    if (all?.size === 0) processState.waiting.delete(this.#place)
    this.#listeners.clear()
    this.#watcher?.close()
    this.#watcher = undefined
    if (this.#descriptor !== undefined) closeSync(this.#descriptor)
    this.#descriptor = undefined
    this.#isOpened = true
  }

  readonly #wakeOwn = (): void => {
    for (const listener of this.#listeners) listener()
  }

  get #file(): string {
    return `${this.#database}-wake`
  }

  /** Not before it is needed: a process that only reads the queue creates no file. */
  #open(): void {
    if (this.#isOpened || this.#database === undefined) return
    this.#isOpened = true
    try {
      this.#descriptor = openBeside(this.#database, this.#file)
    } catch {
      // A process without permission still polls.
    }
  }

  #watch(): FSWatcher | undefined {
    this.#open()
    if (this.#descriptor === undefined) return undefined
    try {
      const watcher = watch(this.#file, { persistent: false }, this.#wakeOwn)
      // A watch that ends is not started again: consumers still poll every second.
      watcher.on('error', () => watcher.close())
      return watcher
    } catch {
      return undefined
    }
  }
}
