/**
 * SIGINT and SIGTERM of this program. A program that has no listener for them ignores both if it is process 1 of a container, and
 * ends with 143 elsewhere. So `bin.ts` listens before it loads the commands.
 */
import { constants } from 'node:os'

type SignalHandler = (signal: NodeJS.Signals) => void

/**
 * On Ctrl+C the terminal signals the processes of npx and of this program, and npx passes the signal on. A signal that comes
 * again within this time, in ms, belongs to the same key press.
 */
const SAME_KEY_PRESS_MS = 500

let handler: SignalHandler | undefined
let pending: NodeJS.Signals | undefined
const receivedAt = new Map<NodeJS.Signals, number>()

/** Keeps the signals that come before `handleSignals` is called. */
export function listenForSignals(): void {
  process.on('SIGINT', receive).on('SIGTERM', receive)
}

/**
 * Calls `onSignal` for each signal, also for one that has come already. Disposing the result restores the handler that was set
 * before.
 */
export function handleSignals(onSignal: SignalHandler): Disposable {
  const before = handler
  handler = onSignal
  if (pending !== undefined) onSignal(pending)
  pending = undefined
  return {
    [Symbol.dispose]() {
      handler = before
    },
  }
}

/** Ends this process with the exit code that shells use: 130 for SIGINT, 143 for SIGTERM. */
export function exitBySignal(signal: NodeJS.Signals): never {
  process.exit(signalExitCode(signal))
}

export function signalExitCode(signal: NodeJS.Signals): number {
  return 128 + constants.signals[signal]
}

function receive(signal: NodeJS.Signals): void {
  const now = performance.now()
  const last = receivedAt.get(signal)
  receivedAt.set(signal, now)
  if (last !== undefined && now - last < SAME_KEY_PRESS_MS) return
  if (handler === undefined) pending ??= signal
  else handler(signal)
}
