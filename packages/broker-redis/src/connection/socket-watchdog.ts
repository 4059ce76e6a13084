import type { Socket } from 'node:net'

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
  let steps = 0
  let read = socket.bytesRead
  let written = socket.bytesWritten
  let answeredBytes = written
  // During a long write, `Socket#setTimeout` only fires if no bytes leave the process. A short write restarts the timeout.
  let isStuck = false
  socket.on('timeout', () => {
    isStuck = true
    socket.setTimeout(STEP_MS / 2)
  })
  socket.setTimeout(STEP_MS / 2)
  const timer = setInterval(() => {
    const hasReceived = socket.bytesRead !== read
    const isSending = socket.writableLength > 0 && !isStuck
    // Data that arrived may answer only what was sent before this step.
    if (hasReceived || !isExpecting()) answeredBytes = written
    read = socket.bytesRead
    written = socket.bytesWritten
    isStuck = false
    steps = hasReceived || isSending || !isExpecting() ? 0 : steps + 1
    const unansweredBytes = written - answeredBytes
    if (steps < Math.min(STEPS + unansweredBytes / BYTES_IN_A_STEP, MOST_STEPS)) return
    clearInterval(timer)
    onSilence()
  }, STEP_MS)
  timer.unref()
  socket.once('close', () => clearInterval(timer))
}
