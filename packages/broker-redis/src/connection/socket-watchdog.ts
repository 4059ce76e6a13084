import type { Socket } from 'node:net'

const STEP_MS = 1_000
/** How many steps a server may take to answer before the connection is given up: a black hole looks like this. */
const STEPS = 4
/** One step more for so many bytes that it may still have on their way to it, unseen: in the buffers of systems and routers. */
const BYTES_IN_A_STEP = 1024 * 1024
const MOST_STEPS = 10

/**
 * Calls once when answers have been expected for four seconds and nothing moved on the socket: nothing came in, and of a write that
 * is under way nothing left this process. After megabytes were sent it waits longer, ten seconds at most. So a large job may take
 * its time on a slow line.
 *
 * Counts in steps: where a handler has blocked the event loop, the answer may have come and not been read yet, and all of that
 * time is one step. Does not keep the process alive, and ends with the socket.
 */
export function watchSocket(socket: Socket, isExpecting: () => boolean, call: () => void): void {
  let steps = 0
  let read = socket.bytesRead
  let written = socket.bytesWritten
  let answeredBytes = written
  // Of a write that takes long, node:net tells by this whether it goes on (`Socket#setTimeout`); a short one only starts it anew.
  let isStuck = false
  socket.on('timeout', () => {
    isStuck = true
    socket.setTimeout(STEP_MS / 2)
  })
  socket.setTimeout(STEP_MS / 2)
  const timer = setInterval(() => {
    const hasHeard = socket.bytesRead !== read
    const isSending = socket.writableLength > 0 && !isStuck
    // What came may be the answer to what was sent before this step, and not to more.
    if (hasHeard || !isExpecting()) answeredBytes = written
    read = socket.bytesRead
    written = socket.bytesWritten
    isStuck = false
    steps = hasHeard || isSending || !isExpecting() ? 0 : steps + 1
    const unansweredBytes = written - answeredBytes
    if (steps < Math.min(STEPS + unansweredBytes / BYTES_IN_A_STEP, MOST_STEPS)) return
    clearInterval(timer)
    call()
  }, STEP_MS)
  timer.unref()
  socket.once('close', () => clearInterval(timer))
}
