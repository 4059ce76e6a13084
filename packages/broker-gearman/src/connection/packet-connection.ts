import type { Socket } from 'node:net'
import type { BrokerError } from '@zyqueue/core/broker'
import { closed, connectionLost, GearmanError, unreachable } from '../errors.ts'
import { Semaphore } from './semaphore.ts'
import { nameOf, type Address } from '../options.ts'
import { PACKET, PacketReader, PacketWriter, ProtocolError, splitArguments, type Packet } from './protocol.ts'
import { openSocket } from './socket.ts'

/** How often an open connection is looked at, in ms. */
const LOOK_MS = 1_000
/** Looks in a row without a sign of life before the peer is asked for one, and before it is given up. */
const LOOKS_BEFORE_ECHO = 2
const LOOKS_BEFORE_LOSS = 8

/**
 * How many jobs are submitted or settled in one go, and how many such portions are under way on a connection. gearmand serves
 * a connection until it has nothing more to read from it, and a persistent queue writes some hundred jobs a second: whoever
 * sent thousands at once would have everybody else wait for seconds.
 */
export const PORTION = 512
const PORTIONS_UNDER_WAY = 2

/** Answers that are due. gearmand answers in the order in which it was asked, so the first of these is for the next answer. */
interface Due {
  readonly types: readonly number[]
  remaining: number
  /** Settlements since the last barrier that turned out to be of jobs that this worker no longer holds. */
  stale: number
  readonly onAnswer: (answer: Packet | GearmanError, stale: number) => void
  readonly onLoss: (error: BrokerError) => void
}

export interface ConnectionEvents {
  /** Packets that answer nothing: NOOP for a worker that sleeps, and news of jobs for a client that waits for them. */
  readonly onPacket?: (packet: Packet) => void
  /** Called once, when the connection has ended, however it did; all that was due has been told before. */
  readonly onEnd?: (error: BrokerError) => void
}

/** What gearmand, and others, say to a settlement of a job that the worker does not have. */
const STALE_SETTLEMENT: ReadonlySet<string> = new Set(['JOB_NOT_FOUND', 'NO_SUCH_JOB'])

const NEWS: ReadonlySet<number> = new Set([
  PACKET.NOOP,
  PACKET.WORK_STATUS,
  PACKET.WORK_COMPLETE,
  PACKET.WORK_FAIL,
  PACKET.WORK_EXCEPTION,
  PACKET.WORK_DATA,
  PACKET.WORK_WARNING,
])

/**
 * One connection to one server, for a client or a worker.
 *
 * A peer that falls silent while something is due, or that was told to be watched, is asked for an ECHO and given up after
 * some seconds: half-open connections are noticed. Neither its socket nor its timer keeps the process alive.
 */
export class PacketConnection {
  readonly where: string
  /** What writes many jobs passes here. */
  readonly gate = new Semaphore(PORTIONS_UNDER_WAY)
  readonly #socket: Socket
  #events: ConnectionEvents = {}
  readonly #reader = new PacketReader()
  readonly #due: Due[] = []
  readonly #timer: NodeJS.Timeout
  #silentLooks = 0
  #ended: BrokerError | undefined
  /** Whether its end is to be noticed although nothing is due. */
  watched = false

  /** Connects, and has the server say that it speaks Gearman. Rejects with `ZYQ_UNREACHABLE`, or the signal's reason. */
  static async open(address: Address, signal: AbortSignal): Promise<PacketConnection> {
    const connection = new PacketConnection(await openSocket(address, signal), nameOf(address))
    const onAbort = (): void => connection.close()
    signal.addEventListener('abort', onAbort)
    try {
      await connection.barrier()
      return connection
    } catch (error) {
      signal.throwIfAborted()
      throw unreachable(connection.where, error)
    } finally {
      signal.removeEventListener('abort', onAbort)
    }
  }

  private constructor(socket: Socket, where: string) {
    this.where = where
    this.#socket = socket
    // Counted in looks, not in time: where this very process was blocked, what the peer has sent is yet to be read.
    this.#timer = setInterval(() => this.#look(), LOOK_MS).unref()
    socket.on('data', (chunk) => this.#read(chunk))
    socket.on('error', (error) => this.#end(connectionLost(where, error)))
    socket.on('close', () => this.#end(connectionLost(where)))
  }

  /** Who is told from now on; of its end at once, where it has ended already. To be called once, when it has opened. */
  listen(events: ConnectionEvents): void {
    this.#events = events
    if (this.#ended !== undefined) events.onEnd?.(this.#ended)
  }

  get ended(): boolean {
    return this.#ended !== undefined
  }

  /** Throws `ZYQ_CONNECTION_LOST` or `ZYQ_CLOSED` where it has ended. */
  assertOpen(): void {
    if (this.#ended !== undefined) throw this.#ended
  }

  /** Writes packets that have no answer. Where the connection has ended, they are dropped: its end was told. */
  write(packets: PacketWriter): void {
    if (this.#ended !== undefined) return
    this.#socket.cork()
    for (const bytes of packets.buffers()) this.#socket.write(bytes)
    this.#socket.uncork()
  }

  /**
   * Writes packets that have `count` answers of these types. `onAnswer` is called for each in their order, or with the error
   * that the server answered instead; `onLoss` once, where the connection ends before all have come.
   */
  ask(
    packets: PacketWriter,
    types: readonly number[],
    count: number,
    onAnswer: Due['onAnswer'],
    onLoss: Due['onLoss'],
  ): void {
    if (this.#ended !== undefined) return onLoss(this.#ended)
    if (count > 0) this.#due.push({ types, remaining: count, stale: 0, onAnswer, onLoss })
    this.write(packets)
  }

  /**
   * Writes packets and an ECHO behind them. Resolves when it comes back: the server has then dealt with all of them. The
   * number is how many settlements among them it refused, because the worker no longer had the job. Rejects with
   * `ZYQ_CONNECTION_LOST`.
   */
  barrier(packets: PacketWriter = new PacketWriter()): Promise<number> {
    return new Promise((resolve, reject) => {
      packets.packet(PACKET.ECHO_REQ, 'zyq')
      this.ask(packets, [PACKET.ECHO_RES], 1, (_answer, stale) => resolve(stale), reject)
    })
  }

  /** Ends it at once. */
  close(): void {
    this.#end(closed())
  }

  #read(chunk: Buffer): void {
    this.#silentLooks = 0
    try {
      this.#reader.push(chunk, (packet) => {
        if (this.#ended === undefined) this.#take(packet)
      })
    } catch (error) {
      if (!(error instanceof ProtocolError)) throw error
      this.#end(connectionLost(this.where, error))
    }
  }

  #take(packet: Packet): void {
    if (NEWS.has(packet.type)) return this.#events.onPacket?.(packet)
    if (packet.type === PACKET.ERROR) return this.#takeError(packet)
    const [due] = this.#due
    if (due === undefined || !due.types.includes(packet.type)) {
      throw new ProtocolError(`The peer sent a packet of type ${packet.type}, which nobody had asked for`)
    }
    this.#answer(due, packet)
  }

  #takeError({ body }: Packet): void {
    const { texts, rest } = splitArguments(body, 1)
    const [code = ''] = texts
    if (STALE_SETTLEMENT.has(code)) {
      const barrier = this.#due.find(({ types }) => types.includes(PACKET.ECHO_RES))
      if (barrier !== undefined) barrier.stale++
      return
    }
    const error = new GearmanError(code, rest.toString())
    const [due] = this.#due
    if (due === undefined) this.#end(connectionLost(this.where, error))
    else this.#answer(due, error)
  }

  #answer(due: Due, answer: Packet | GearmanError): void {
    due.remaining--
    if (due.remaining === 0) this.#due.shift()
    due.onAnswer(answer, due.stale)
  }

  #look(): void {
    if (this.#due.length === 0 && !this.watched) {
      this.#silentLooks = 0
      return
    }
    this.#silentLooks++
    if (this.#silentLooks === LOOKS_BEFORE_ECHO && this.#due.length === 0) this.barrier().catch(() => {})
    if (this.#silentLooks >= LOOKS_BEFORE_LOSS) this.#end(connectionLost(this.where, new Error('it does not answer')))
  }

  #end(error: BrokerError): void {
    if (this.#ended !== undefined) return
    this.#ended = error
    clearInterval(this.#timer)
    this.#socket.destroy()
    for (const due of this.#due.splice(0)) due.onLoss(error)
    this.#events.onEnd?.(error)
  }
}
