/** What one connection may use of a job server's memory. */
import type { Socket } from 'node:net'

/** The largest packet that the server reads. Twice the largest job of ZyQueue. */
export const MAX_REQUEST_BYTES: number = 64 * 1024 * 1024
/** A connection whose client has not read this many bytes gets no more of them: the server closes it. */
const MAX_UNREAD_BYTES = 64 * 1024 * 1024
/** As in gearmand. */
const MAX_NAME_BYTES = 512
const CONTROL = /\p{Cc}/u

/** True if a function may have this name. A tab or newline would be another column or line in the answers to text commands. */
export function isFunctionName(name: string): boolean {
  return name !== '' && Buffer.byteLength(name) <= MAX_NAME_BYTES && !CONTROL.test(name)
}

/** The id of a client without control characters, as for function names. */
export function printableId(clientId: string): string {
  return clientId.slice(0, MAX_NAME_BYTES).replaceAll(/\p{Cc}/gu, '?')
}

/** Writes, unless the client has stopped reading: then closes the connection. Returns false if it is closed. */
export function writeBounded(socket: Socket, chunks: readonly (Uint8Array | string)[]): boolean {
  if (socket.destroyed) return false
  if (socket.writableLength > MAX_UNREAD_BYTES) {
    socket.destroy()
    return false
  }
  socket.cork()
  for (const chunk of chunks) socket.write(chunk)
  socket.uncork()
  return true
}
