import { Buffer } from 'node:buffer'
import type { CallResult, News } from '@zyqueue/core/broker'
import type { PacketConnection } from '../connection/packet-connection.ts'
import { GearmanError } from '../errors.ts'
import { PACKET, PacketWriter, ProtocolError, splitArguments, type Packet } from '../connection/protocol.ts'
import type { Submission } from './publish.ts'

interface Call {
  readonly onNews: (news: News) => void
  readonly settle: (result: CallResult) => void
}

/** The jobs that one connection waits for, by the handles that the server gave them. */
export class Calls {
  readonly #calls = new Map<string, Call>()
  #hearsExceptions = false

  /**
   * Submits a job and waits for its end, or for the signal. Rejects with the signal's reason where that is first, and calls
   * `onAbandoned` with the handle of the job that nobody waits for any more. Rejects, too, where the connection had ended before.
   */
  async call(
    connection: PacketConnection,
    { packet, functionName, unique, workload }: Submission,
    options: {
      readonly signal: AbortSignal
      readonly onNews: (news: News) => void
      readonly onAbandoned: (handle: string) => void
    },
  ): Promise<CallResult> {
    connection.assertOpen()
    const { signal, onNews, onAbandoned } = options
    signal.throwIfAborted()
    return new Promise((resolve, reject) => {
      let handle: string | undefined
      const end = (outcome: () => void): void => {
        signal.removeEventListener('abort', onAbort)
        if (handle !== undefined) this.#calls.delete(handle)
        connection.watched = this.#calls.size > 0
        outcome()
      }
      const settle = (result: CallResult): void => end(() => resolve(result))
      const onAbort = (): void =>
        end(() => {
          if (handle !== undefined) onAbandoned(handle)
          reject(reasonOf(signal))
        })
      signal.addEventListener('abort', onAbort)
      this.#askForExceptions(connection)
      connection.ask(
        new PacketWriter().packet(packet, `${functionName}\0${unique}\0`, workload),
        [PACKET.JOB_CREATED],
        1,
        (answer) => {
          if (answer instanceof GearmanError) return settle({ status: 'refused', error: answer })
          handle = answer.body.toString()
          if (signal.aborted) return onAbandoned(handle)
          this.#calls.set(handle, { onNews, settle })
          // It may take hours in which nothing else is due.
          connection.watched = true
        },
        (error) => settle({ status: 'unknown', error }),
      )
    })
  }

  /** To be called with what the connection gets unasked. */
  take({ type, body }: Packet): void {
    // gearmand sends a WORK_FAIL with its handle alone, others with a NUL behind it.
    const end = body.indexOf(0)
    const handle = body.toString('utf8', 0, end < 0 ? body.length : end)
    const call = this.#calls.get(handle)
    if (call === undefined) return
    const rest = end < 0 ? Buffer.alloc(0) : body.subarray(end + 1)
    switch (type) {
      case PACKET.WORK_COMPLETE:
        return call.settle({ status: 'done', body: rest })
      case PACKET.WORK_FAIL:
        return call.settle({ status: 'failed' })
      case PACKET.WORK_EXCEPTION:
        return call.settle({ status: 'failed', reason: rest.toString() })
      case PACKET.WORK_DATA:
        return call.onNews({ kind: 'data', body: rest })
      case PACKET.WORK_WARNING:
        return call.onNews({ kind: 'warning', text: rest.toString() })
      case PACKET.WORK_STATUS:
        return call.onNews(readProgress(body))
    }
  }

  /** To be called when the connection has ended. */
  end(error: unknown): void {
    for (const { settle } of this.#calls.values()) settle({ status: 'unknown', error })
  }

  #askForExceptions(connection: PacketConnection): void {
    if (this.#hearsExceptions) return
    this.#hearsExceptions = true
    const packets = new PacketWriter().packet(PACKET.OPTION_REQ, 'exceptions')
    // A server without them says only that a job has failed.
    connection.ask(
      packets,
      [PACKET.OPTION_RES],
      1,
      () => {},
      () => {},
    )
  }
}

/** The packet that tells whoever waits for a job of its news. */
export function updatePacket(handle: string, news: News): PacketWriter {
  const packets = new PacketWriter()
  switch (news.kind) {
    case 'progress':
      return packets.packet(PACKET.WORK_STATUS, `${handle}\0${news.done}\0${news.of}`)
    case 'data':
      return packets.packet(PACKET.WORK_DATA, `${handle}\0`, news.body)
    case 'warning':
      return packets.packet(PACKET.WORK_WARNING, `${handle}\0${news.text}`)
  }
}

function reasonOf({ reason }: AbortSignal): Error {
  return reason instanceof Error ? reason : new Error('The call was aborted', { cause: reason })
}

function readProgress(body: Buffer): News {
  const { texts, rest } = splitArguments(body, 2)
  const [done, of] = [Number(texts[1]), Number(rest.toString('latin1'))]
  if (Number.isNaN(done) || Number.isNaN(of)) throw new ProtocolError('The peer sent a progress that is no number')
  return { kind: 'progress', done, of }
}
