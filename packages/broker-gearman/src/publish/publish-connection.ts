import { Buffer } from 'node:buffer'
import type { CallRequest, CallResult, JobUpdate, PublishResult } from '@zyqueue/core/broker'
import type { PacketConnection } from '../connection/packet-connection.ts'
import { PACKET, PacketWriter, ProtocolError, splitArguments, type Packet } from '../connection/protocol.ts'
import { GearmanError } from '../errors.ts'
import type { Submission } from '../message.ts'
import { submit, writeSubmission } from './publish.ts'

interface Call {
  readonly onUpdate: (update: JobUpdate) => void
  readonly settle: (result: CallResult) => void
}

/** A connection that submits jobs and waits for the end of some of them. */
export class PublishConnection {
  readonly #connection: PacketConnection
  /** Gets the handle of a job that its submitter no longer waits for. */
  readonly #onAbandoned: (handle: string) => void
  /** By the handles of their jobs. */
  readonly #calls = new Map<string, Call>()
  #hasAskedForExceptions = false

  constructor(connection: PacketConnection, onAbandoned: (handle: string) => void) {
    this.#connection = connection
    this.#onAbandoned = onAbandoned
    connection.listen({
      onPacket: (packet) => this.#receive(packet),
      onEnd: (error) => {
        for (const { settle } of this.#calls.values()) settle({ status: 'unknown', error })
      },
    })
  }

  get isOpen(): boolean {
    return this.#connection.isOpen
  }

  submit(submissions: readonly Submission[]): Promise<readonly PublishResult[]> {
    return submit(this.#connection, submissions)
  }

  /**
   * Submits a job and waits for its end. Rejects with the signal's reason if it is aborted, and otherwise only if the connection
   * had ended before.
   */
  async call(submission: Submission, { signal, onUpdate }: CallRequest): Promise<CallResult> {
    const connection = this.#connection
    connection.assertOpen()
    signal.throwIfAborted()
    return new Promise((resolve, reject) => {
      let handle: string | undefined
      const end = (outcome: () => void): void => {
        signal.removeEventListener('abort', onAbort)
        if (handle !== undefined) this.#calls.delete(handle)
        connection.isWatched = this.#calls.size > 0
        outcome()
      }
      const settle = (result: CallResult): void => end(() => resolve(result))
      const onAbort = (): void =>
        end(() => {
          if (handle !== undefined) this.#onAbandoned(handle)
          reject(reasonOf(signal))
        })
      signal.addEventListener('abort', onAbort)
      this.#askForExceptions()
      const packets = new PacketWriter()
      writeSubmission(packets, submission)
      connection.ask(
        packets,
        [PACKET.JOB_CREATED],
        1,
        (answer) => {
          if (answer instanceof GearmanError) return settle({ status: 'refused', error: answer })
          handle = answer.body.toString()
          if (signal.aborted) return this.#onAbandoned(handle)
          this.#calls.set(handle, { onUpdate, settle })
          // The server may owe nothing else for hours.
          connection.isWatched = true
        },
        (error) => settle({ status: 'unknown', error }),
      )
    })
  }

  #receive({ type, body }: Packet): void {
    // In a WORK_FAIL gearmand sends the handle alone, and other servers add a NUL.
    const end = body.indexOf(0)
    const call = this.#calls.get(body.toString('utf8', 0, end < 0 ? body.length : end))
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
        return call.onUpdate({ kind: 'data', body: rest })
      case PACKET.WORK_WARNING:
        return call.onUpdate({ kind: 'warning', text: rest.toString() })
      case PACKET.WORK_STATUS:
        return call.onUpdate(readProgress(body))
    }
  }

  /** A server that does not know the option reports failures without their reasons. */
  #askForExceptions(): void {
    if (this.#hasAskedForExceptions) return
    this.#hasAskedForExceptions = true
    const packets = new PacketWriter().packet(PACKET.OPTION_REQ, 'exceptions')
    this.#connection.askAll(packets, [PACKET.OPTION_RES], 1).catch(() => {})
  }
}

function reasonOf({ reason }: AbortSignal): Error {
  return reason instanceof Error ? reason : new Error('The call was aborted', { cause: reason })
}

function readProgress(body: Buffer): JobUpdate {
  const { texts, rest } = splitArguments(body, 2)
  const [done, of] = [Number(texts[1]), Number(rest.toString('latin1'))]
  if (Number.isNaN(done) || Number.isNaN(of)) throw new ProtocolError('The progress of a job is not a number')
  return { kind: 'progress', done, of }
}
