/**
 * How idle consumers learn that a job is ready: at once from a publisher in their own process, through an empty file beside
 * the database from one in another. Both are hints. A hint that is lost costs the second after which a consumer looks by itself.
 */
import { closeSync, openSync, watch, writeSync, constants, type FSWatcher } from 'node:fs'
import { processState } from './process-state.ts'

/** How often an idle consumer looks by itself, in milliseconds. */
export const LOOK_MS = 1000

const TOUCH = Uint8Array.of(10)

export class WakeFile {
  readonly #place: string
  readonly #listeners = new Set<() => void>()
  readonly #file: string | undefined
  #descriptor: number | undefined
  #watcher: FSWatcher | undefined

  /** `place` names the database in this process. Without a `file` no other process is woken: there is none, or none may. */
  constructor(place: string, file?: string) {
    this.#place = place
    this.#file = file
    try {
      if (file !== undefined) this.#descriptor = openSync(file, constants.O_RDWR | constants.O_CREAT)
    } catch {
      // Whoever may not touch it still has the slow way.
    }
    const all = processState.waiting.get(place) ?? new Set()
    processState.waiting.set(place, all.add(this.#wakeOwn))
  }

  /** Calls `listener` at each hint until the returned function is called. Watches the file from the first call on. */
  listen(listener: () => void): () => void {
    this.#watcher ??= this.#watch()
    this.#listeners.add(listener)
    return () => this.#listeners.delete(listener)
  }

  /** Wakes who waits, where one of these delays ends before he would look by himself. */
  wakeFor(delaysMs: readonly number[]): void {
    if (delaysMs.some((delayMs) => delayMs <= LOOK_MS)) this.wake()
  }

  /** Wakes all who wait, here and elsewhere. */
  wake(): void {
    for (const wakeOwn of processState.waiting.get(this.#place) ?? []) wakeOwn()
    if (this.#descriptor === undefined) return
    try {
      writeSync(this.#descriptor, TOUCH, 0, 1, 0)
    } catch {
      // A full disk, for one: they will look by themselves.
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
  }

  readonly #wakeOwn = (): void => {
    for (const listener of this.#listeners) listener()
  }

  #watch(): FSWatcher | undefined {
    if (this.#file === undefined) return undefined
    try {
      const watcher = watch(this.#file, { persistent: false }, this.#wakeOwn)
      // A watch that ends is not begun anew: consumers still look each second.
      watcher.on('error', () => watcher.close())
      return watcher
    } catch {
      return undefined
    }
  }
}
