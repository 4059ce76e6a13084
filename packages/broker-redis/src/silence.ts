import type { Socket } from 'node:net'

/** How long a server may take to answer before the connection is given up, in ms: a black hole looks like this. */
export const SILENCE_MS = 4_000
const STEPS = 4
const STEP_MS = SILENCE_MS / STEPS

/**
 * Calls once when an answer has been expected and nothing has moved on the socket for four seconds: nothing came, and of what is
 * on its way out, nothing left. So a large job may take its time on a slow line.
 *
 * Counts in steps: where a handler has blocked the event loop, the answer may have come and not been read yet, and all of that
 * time is one step. Does not keep the process alive, and ends with the socket.
 */
export function onSilence(socket: Socket, isExpecting: () => boolean, call: () => void): void {
  let steps = 0
  let steppedAt = 0
  socket.on('timeout', () => {
    const now = performance.now()
    const follows = now - steppedAt < 2 * STEP_MS
    steppedAt = now
    steps = isExpecting() ? (follows ? steps : 0) + 1 : 0
    if (steps < STEPS) socket.setTimeout(STEP_MS)
    else call()
  })
  // Starts over by itself whenever something moves (`socket.setTimeout` of node:net).
  socket.setTimeout(STEP_MS)
}
