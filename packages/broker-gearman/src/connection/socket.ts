import { createConnection, type Socket } from 'node:net'
import { unreachable } from '../errors.ts'
import { nameOf, type Address } from '../options.ts'

/** How long a server may take to accept a connection, in ms. */
const CONNECT_MS = 5_000

/** Opens a TCP connection that does not keep the process alive. Rejects with `ZYQ_UNREACHABLE`, or the signal's reason. */
export function openSocket(address: Address, signal: AbortSignal): Promise<Socket> {
  return new Promise((resolve, reject) => {
    const socket = createConnection({ ...address, noDelay: true, keepAlive: true }).unref()
    const settle = (outcome: () => void): void => {
      clearTimeout(timer)
      signal.removeEventListener('abort', onAbort)
      socket.off('connect', onConnect)
      socket.off('error', onError)
      outcome()
    }
    const fail = (error: unknown): void =>
      settle(() => {
        // A late error of the destroyed socket is nobody's business.
        socket.on('error', () => {})
        socket.destroy()
        reject(error)
      })
    // Of a name with several addresses, each has a handle of its own.
    const onConnect = (): void => settle(() => resolve(socket.unref()))
    const onError = (error: Error): void => fail(unreachable(nameOf(address), error))
    const onAbort = (): void => fail(signal.reason)
    const timer = setTimeout(() => fail(unreachable(nameOf(address), new Error('no answer'))), CONNECT_MS).unref()
    socket.on('connect', onConnect)
    socket.on('error', onError)
    signal.addEventListener('abort', onAbort)
    if (signal.aborted) onAbort()
  })
}
