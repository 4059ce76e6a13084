import type { Socket } from 'node:net'
import type { BrokerError } from '@zyqueue/core/broker'
import { connectionLost, GearmanError, unreachable } from '../errors.ts'
import { formatAddress, type Address } from '../options.ts'
import {
  PACKET,
  PacketReader,
  PacketWriter,
  ProtocolError,
  splitArguments,
  type Packet,
  WORK_PACKETS,
} from './protocol.ts'
import { Semaphore } from './semaphore.ts'
import { openSocket, SocketConnection } from './socket-connection.ts'

/** After this many silent turns the server is asked for a sign of life, and after more of them it is given up. */
const SILENT_TURNS_BEFORE_ECHO = 2
const MAX_SILENT_TURNS = 8

/**
 * How many jobs are submitted or settled at once, and how many such portions are in flight on a connection. gearmand serves a
 * connection until there is nothing more to read from it, and a persistent queue writes some hundred jobs a second: a client
 * that sent thousands of jobs at once would block all other clients for seconds.
 */
const PORTION = 512
const MAX_PORTIONS_IN_FLIGHT = 2

/** Answers that the server owes. It answers in the order of the requests, so the next answer is for the first of these. */
interface PendingPacket {
  readonly types: readonly number[]
  remaining: number
  /** How many settlements since the last barrier were of jobs that this worker no longer holds. */
  stale: number
  readonly onAnswer: (answer: Packet | GearmanError, stale: number) => void
  readonly onLoss: (error: BrokerError) => void
}

export interface PacketConnectionEvents {
  /** Gets packets that answer no request: NOOP for a sleeping worker, and updates of jobs for a client that waits. */
  readonly onPacket?: (packet: Packet) => void
  /** Called once, when the connection has ended and all pending requests have been told. */
  readonly onEnd?: (error: BrokerError) => void
}

/** How servers refuse the settlement of a job that the worker does not hold. */
const STALE_SETTLEMENT: ReadonlySet<string> = new Set(['JOB_NOT_FOUND', 'NO_SUCH_JOB'])

/**
 * One connection of a client or worker in the binary protocol.
 *
 * A server that is silent while it owes an answer, or while `isWatched`, is asked for an ECHO and given up after some seconds,
 * so half-open connections are noticed.
 */
export class PacketConnection extends SocketConnection {
  /** Whether the end of the connection must be noticed although the server owes no answer. */
  isWatched = false
  readonly #portions = new Semaphore(MAX_PORTIONS_IN_FLIGHT)
  readonly #reader = new PacketReader()
  readonly #pending: PendingPacket[] = []
  #events: PacketConnectionEvents = {}

  /** Connects until the signal is aborted, and checks that the server speaks Gearman. Rejects with `ZYQ_UNREACHABLE`, or the signal's reason. */
  static async open(address: Address, signal: AbortSignal): Promise<PacketConnection> {
    const connection = new PacketConnection(await openSocket(address, signal), address, signal)
    try {
      await connection.barrier()
      return connection
    } catch (error) {
      signal.throwIfAborted()
      throw unreachable(formatAddress(address), error)
    }
  }

  private constructor(socket: Socket, address: Address, signal: AbortSignal) {
    super(socket, address, signal, MAX_SILENT_TURNS)
  }

  /** Sets the listener. If the connection has ended already, its `onEnd` is called at once. */
  listen(events: PacketConnectionEvents): void {
    this.#events = events
    if (this.ended !== undefined) events.onEnd?.(this.ended)
  }

  /** Writes packets that have no answer. Does nothing if the connection has ended. */
  write(packets: PacketWriter): void {
    if (this.ended !== undefined) return
    this.socket.cork()
    for (const bytes of packets.buffers()) this.socket.write(bytes)
    this.socket.uncork()
  }

  /**
   * Writes packets that have `count` answers of these types. `onAnswer` is called for each in their order, or with the error
   * that the server answered instead; `onLoss` once, if the connection ends before all have come.
   */
  ask(
    packets: PacketWriter,
    types: readonly number[],
    count: number,
    onAnswer: PendingPacket['onAnswer'],
    onLoss: PendingPacket['onLoss'],
  ): void {
    if (this.ended !== undefined) return onLoss(this.ended)
    this.#pending.push({ types, remaining: count, stale: 0, onAnswer, onLoss })
    this.write(packets)
  }

  /** As `ask`, and resolves to all answers. Rejects with `ZYQ_CONNECTION_LOST` or `ZYQ_CLOSED`. */
  askAll(packets: PacketWriter, types: readonly number[], count: number): Promise<readonly (Packet | GearmanError)[]> {
    return new Promise((resolve, reject) => {
      const answers: (Packet | GearmanError)[] = []
      const onAnswer = (answer: Packet | GearmanError): void => {
        if (answers.push(answer) === count) resolve(answers)
      }
      this.ask(packets, types, count, onAnswer, reject)
    })
  }

  /**
   * Writes packets and an ECHO request. Resolves when the server has processed all of them, to the number of settlements that it
   * refused because the worker no longer had the job. Rejects with `ZYQ_CONNECTION_LOST`.
   */
  barrier(packets: PacketWriter = new PacketWriter()): Promise<number> {
    return new Promise((resolve, reject) => {
      packets.packet(PACKET.ECHO_REQ, 'zyq')
      this.ask(packets, [PACKET.ECHO_RES], 1, (_answer, stale) => resolve(stale), reject)
    })
  }

  /** Sends a list in portions, so that other connections get their turn. One result for each item, in their order. */
  async sendInPortions<Item, Result>(
    items: readonly Item[],
    send: (portion: readonly Item[]) => Promise<readonly Result[]>,
  ): Promise<readonly Result[]> {
    if (items.length <= PORTION) return items.length === 0 ? [] : this.#portions.run(() => send(items))
    const results: Promise<readonly Result[]>[] = []
    for (let start = 0; start < items.length; start += PORTION) {
      results.push(this.#portions.run(() => send(items.slice(start, start + PORTION))))
    }
    return (await Promise.all(results)).flat()
  }

  protected override read(chunk: Buffer): void {
    try {
      this.#reader.push(chunk, (packet) => {
        if (this.ended === undefined) this.#receive(packet)
      })
    } catch (error) {
      if (!(error instanceof ProtocolError)) throw error
      this.end(connectionLost(this.location, error))
    }
  }

  protected override isExpecting(): boolean {
    return this.#pending.length > 0 || this.isWatched
  }

  protected override onSilentTurn(turns: number): void {
    if (turns === SILENT_TURNS_BEFORE_ECHO && this.#pending.length === 0) this.barrier().catch(() => {})
  }

  protected override onEnd(error: BrokerError): void {
    for (const { onLoss } of this.#pending.splice(0)) onLoss(error)
    this.#events.onEnd?.(error)
  }

  #receive(packet: Packet): void {
    if (packet.type === PACKET.NOOP || WORK_PACKETS.has(packet.type)) return this.#events.onPacket?.(packet)
    if (packet.type === PACKET.ERROR) return this.#receiveError(packet)
    const [first] = this.#pending
    if (first === undefined || !first.types.includes(packet.type)) {
      throw new ProtocolError(`The server sent a packet of type ${packet.type} that answers no request`)
    }
    this.#answer(first, packet)
  }

  #receiveError({ body }: Packet): void {
    const { texts, rest } = splitArguments(body, 1)
    const [code = ''] = texts
    if (STALE_SETTLEMENT.has(code)) {
      const barrier = this.#pending.find(({ types }) => types.includes(PACKET.ECHO_RES))
      if (barrier !== undefined) barrier.stale++
      return
    }
    const error = new GearmanError(code, rest.toString())
    const [first] = this.#pending
    if (first === undefined) this.end(connectionLost(this.location, error))
    else this.#answer(first, error)
  }

  #answer(pending: PendingPacket, answer: Packet | GearmanError): void {
    pending.remaining--
    if (pending.remaining === 0) this.#pending.shift()
    pending.onAnswer(answer, pending.stale)
  }
}
