import { AssertionError } from 'node:assert'
import { setTimeout as sleep } from 'node:timers/promises'

const DEFAULT_TIMEOUT_MS = 10_000

/**
 * Calls `probe` until it returns a value other than false and undefined, and resolves to that value. Rejects with an
 * `AssertionError` after `timeoutMs` milliseconds (default: 10,000). The error contains `what`; if `what` is a function, its result.
 *
 * ```ts
 * await waitFor('the queue to be empty', async () => (await count()) === 0)
 * ```
 */
export async function waitFor<Value>(
  what: string | (() => string),
  probe: () => Value | Promise<Value>,
  timeoutMs: number = DEFAULT_TIMEOUT_MS,
): Promise<Exclude<Value, false | undefined>> {
  const deadlineMs = performance.now() + timeoutMs
  for (let pauseMs = 2; ; pauseMs = Math.min(2 * pauseMs, 100)) {
    const value = await probe()
    if (isPresent(value)) return value
    if (performance.now() > deadlineMs) throw timeoutError(typeof what === 'string' ? what : what(), timeoutMs)
    await sleep(pauseMs)
  }
}

function isPresent<Value>(value: Value): value is Exclude<Value, false | undefined> {
  return value !== false && value !== undefined
}

/**
 * Settles as the promise does, or rejects with an `AssertionError` after `timeoutMs` milliseconds (default: 10,000). Keeps the
 * process alive meanwhile, as core does during a call of a broker.
 */
export async function withTimeout<Value>(
  what: string,
  promise: Promise<Value>,
  timeoutMs: number = DEFAULT_TIMEOUT_MS,
): Promise<Value> {
  let timer: NodeJS.Timeout | undefined
  const bound = new Promise<never>((_resolve, reject) => {
    timer = setTimeout(() => reject(timeoutError(what, timeoutMs)), timeoutMs)
  })
  try {
    return await Promise.race([promise, bound])
  } finally {
    clearTimeout(timer)
  }
}

function timeoutError(what: string, timeoutMs: number): AssertionError {
  return new AssertionError({ message: `Timed out after ${timeoutMs} ms: ${what}` })
}
