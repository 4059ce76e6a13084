import type { Socket } from 'node:net'
import { Watchdog } from '@zyqueue/core/broker'

const STEP_MS = 1_000
/** The connection counts as lost if the server sends nothing for this number of steps. */
const STEPS = 4
/** One step more for each MiB that may still be in the buffers of operating systems and routers. */
const BYTES_IN_A_STEP = 1024 * 1024
const MOST_STEPS = 10

/**
 * Calls `onSilence` once if an answer is pending and the socket makes no progress for four seconds: no bytes arrived, and a pending
 * write sent no bytes. After megabytes were sent it waits longer, at most ten seconds, because a large job takes time on a slow
 * network.
 *
 * Time is counted in steps: if a handler blocks the event loop, the answer may have arrived unread, so that time counts as one
 * step. The timer does not keep the process alive, and stops when the socket closes.
 */
export function watchSocket(socket: Socket, isExpecting: () => boolean, onSilence: () => void): void {
  let read = socket.bytesRead
  let written = socket.bytesWritten
  let answeredBytes = written
  let progress = 0
  // During a long write, `Socket#setTimeout` only fires if no bytes leave the process. A short write restarts the timeout.
  let isStuck = false
  socket.on('timeout', () => {
    isStuck = true
    socket.setTimeout(STEP_MS / 2)
  })
  socket.setTimeout(STEP_MS / 2)
  const watchdog = new Watchdog({
    turnMs: STEP_MS,
    maxSilentTurns: () => Math.min(STEPS + (written - answeredBytes) / BYTES_IN_A_STEP, MOST_STEPS),
    progress: () => {
      const hasReceived = socket.bytesRead !== read
      // Data that arrived may answer only what was sent before this step.
      if (hasReceived || !isExpecting()) answeredBytes = written
      if (hasReceived || (socket.writableLength > 0 && !isStuck)) progress++
      read = socket.bytesRead
      written = socket.bytesWritten
      isStuck = false
      return progress
    },
    isExpecting,
    onSilence,
  })
  socket.once('close', () => watchdog.stop())
}
