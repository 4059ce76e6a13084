/**
 * State that all brokers of a process share, even brokers of two copies of this package: the database of `sqlite::memory:`, and
 * the consumers that wait for jobs of a file, so that a publisher in the same process wakes them without the file system.
 */
import type { Connection } from './driver.ts'

interface ProcessState {
  memory?: Connection
  /** By the path of the database. */
  readonly waiting: Map<string, Set<() => void>>
}

const KEY = Symbol.for('@zyqueue/broker-sqlite/process@1')

export const processState: ProcessState = existing() ?? create()

function existing(): ProcessState | undefined {
  const state: unknown = Reflect.get(globalThis, KEY)
  return isProcessState(state) ? state : undefined
}

function create(): ProcessState {
  const state: ProcessState = { waiting: new Map() }
  Reflect.set(globalThis, KEY, state)
  return state
}

function isProcessState(state: unknown): state is ProcessState {
  return typeof state === 'object' && state !== null && 'waiting' in state && state.waiting instanceof Map
}
