import type { BrokerError, PublishResult } from '@zyqueue/core/broker'
import { PacketConnection } from '../connection/packet-connection.ts'
import { GearmanError } from '../errors.ts'
import type { Address } from '../options.ts'
import {
  PACKET,
  PacketWriter,
  readAssignment,
  readUniqueStatus,
  type Assignment,
  type Packet,
} from '../connection/protocol.ts'
import { submit, type Submission } from '../publish/publish.ts'

/** The most jobs that are asked for at once. */
const MAX_WIDTH = 512

/** A function that this connection takes jobs of. */
interface Ability {
  /** Its jobs that are assigned and not settled. The server takes all of them back where the ability is withdrawn. */
  held: number
  /** The turn in which it was served, or tried, last. */
  servedAt: number
  /** Whether it is withdrawn when it is empty. */
  readonly passing: boolean
  /** Whether it is known to be. */
  isEmpty: boolean
}

export interface WorkerConnectionEvents {
  readonly onJob: (link: WorkerConnection, assignment: Assignment) => void
  /** There may be jobs, or all answers have come: the time to ask again. */
  readonly onReady: () => void
  readonly onEnd: (link: WorkerConnection, error: BrokerError) => void
}

/**
 * A consumer's connection to one server, as a worker: what it can do, what it has asked for and what it holds. The server
 * takes back all that it holds when it ends.
 */
export class WorkerConnection {
  readonly #connection: PacketConnection
  readonly #events: WorkerConnectionEvents
  readonly #abilities = new Map<string, Ability>()
  /** The ability that the server looks at first: the one that was announced last. */
  #front: string | undefined
  #turn = 0
  #inFlight = 0
  #width = 1
  #asleep = false
  #lastWasJob = false

  /** Connects and announces who it is and the queues that it serves. Rejects with `ZYQ_UNREACHABLE`, or the signal's reason. */
  static async open(
    address: Address,
    options: { readonly clientId: string; readonly queues: readonly string[]; readonly events: WorkerConnectionEvents },
    signal: AbortSignal,
  ): Promise<WorkerConnection> {
    const connection = await PacketConnection.open(address, signal)
    const link = new WorkerConnection(connection, options.events)
    connection.watched = true
    const packets = new PacketWriter().packet(PACKET.SET_CLIENT_ID, options.clientId)
    for (const queue of options.queues) link.#announce(packets, queue, false)
    connection.write(packets)
    connection.listen({
      onPacket: (packet) => link.#takeNews(packet),
      onEnd: (error) => options.events.onEnd(link, error),
    })
    return link
  }

  private constructor(connection: PacketConnection, events: WorkerConnectionEvents) {
    this.#connection = connection
    this.#events = events
  }

  get ended(): boolean {
    return this.#connection.ended
  }

  /** The server's host and port. */
  get where(): string {
    return this.#connection.where
  }

  /** Jobs that were asked for and have not come yet. */
  get inFlight(): number {
    return this.#inFlight
  }

  /** Jobs that are assigned to it. */
  get held(): number {
    let held = 0
    for (const ability of this.#abilities.values()) held += ability.held
    return held
  }

  /**
   * Asks for jobs, at most `room`; returns how many it has asked for. It asks for few where few have come of late, and for
   * none while the server is to say when there are any.
   */
  grab(room: number): number {
    const several = this.#abilities.size > 1
    // Whose turn it is can be changed only while nothing is under way.
    if (this.#asleep || (several && this.#inFlight > 0)) return 0
    const count = Math.min(room, this.#width - this.#inFlight)
    if (count <= 0) return 0
    const packets = new PacketWriter()
    if (several) this.#withdraw(packets, ({ isEmpty }) => isEmpty)
    if (several && this.#lastWasJob) this.#giveTurn(packets)
    for (let asked = 0; asked < count; asked++) packets.packet(PACKET.GRAB_JOB_UNIQ)
    this.#inFlight += count
    this.#connection.ask(
      packets,
      [PACKET.JOB_ASSIGN_UNIQ, PACKET.NO_JOB],
      count,
      (answer) => this.#takeAnswer(answer),
      () => {},
    )
    return count
  }

  /** Takes jobs of this function too, until it is empty. */
  serveOnce(functionName: string): void {
    if (this.ended || this.#abilities.has(functionName)) return
    const packets = new PacketWriter()
    this.#announce(packets, functionName, true)
    this.#connection.write(packets)
    // A worker that sleeps is not woken by what it says itself.
    this.#asleep = false
    this.#events.onReady()
  }

  /** Takes note that a function that was served until it is empty is so. */
  serveNoMore(functionName: string): void {
    const ability = this.#abilities.get(functionName)
    if (ability?.passing === true) ability.isEmpty = true
  }

  /** Takes note that a job of this function is settled. */
  letGo(functionName: string): void {
    const ability = this.#abilities.get(functionName)
    if (ability !== undefined) ability.held--
  }

  /** Does a piece of work that writes many jobs when it is its turn. */
  pass<Result>(work: () => Promise<Result>): Promise<Result> {
    return this.#connection.gate.pass(work)
  }

  /** Writes packets that settle jobs. Resolves, when the server has dealt with them, to how many it refused as not held. */
  settle(packets: PacketWriter): Promise<number> {
    return this.#connection.barrier(packets)
  }

  /** Writes packets that tell something of a job that is held. */
  tell(packets: PacketWriter): void {
    this.#connection.write(packets)
  }

  submit(submissions: readonly Submission[]): Promise<readonly PublishResult[]> {
    return submit(this.#connection, submissions)
  }

  /** For each of these jobs, whether somebody waits for its end. Rejects with `ZYQ_CONNECTION_LOST`. */
  areAwaited(uniques: readonly string[]): Promise<readonly boolean[]> {
    if (uniques.length === 0) return Promise.resolve([])
    const packets = new PacketWriter()
    for (const unique of uniques) packets.packet(PACKET.GET_STATUS_UNIQUE, unique)
    return new Promise((resolve, reject) => {
      const awaited: boolean[] = []
      const onAnswer = (answer: Packet | GearmanError): void => {
        // A server that does not know the question has no foreground job to lose by the answer "no".
        awaited.push(!(answer instanceof GearmanError) && readUniqueStatus(answer.body).waiting > 0)
        if (awaited.length === uniques.length) resolve(awaited)
      }
      this.#connection.ask(packets, [PACKET.STATUS_RES_UNIQUE], uniques.length, onAnswer, reject)
    })
  }

  /** Gives back all that it holds, at once, and ends. Resolves when the server has it back. Never rejects. */
  async close(): Promise<void> {
    // To withdraw an ability gives back its jobs, and unlike the end of the connection it is done when the answer comes.
    await this.#connection.barrier(new PacketWriter().packet(PACKET.RESET_ABILITIES)).catch(() => {})
    this.#connection.close()
  }

  /** Ends it as the end of the process would. */
  destroy(): void {
    this.#connection.close()
  }

  #takeNews(packet: Packet): void {
    if (packet.type !== PACKET.NOOP) return
    this.#asleep = false
    this.#events.onReady()
  }

  #takeAnswer(answer: Packet | GearmanError): void {
    this.#inFlight--
    const isJob = !(answer instanceof GearmanError) && answer.type === PACKET.JOB_ASSIGN_UNIQ
    this.#lastWasJob = isJob
    if (isJob) {
      this.#width = Math.min(this.#width * 2, MAX_WIDTH)
      const assignment = readAssignment(answer.body)
      const ability = this.#abilities.get(assignment.functionName)
      if (ability !== undefined) {
        ability.held++
        ability.servedAt = ++this.#turn
        ability.isEmpty = false
      }
      this.#events.onJob(this, assignment)
    } else this.#width = 1
    if (this.#inFlight > 0) return
    if (!isJob) this.#sleep()
    this.#events.onReady()
  }

  /** The server looks once more before it lets a worker sleep: what came meanwhile is told by a NOOP. */
  #sleep(): void {
    const packets = new PacketWriter()
    this.#withdraw(packets, () => true)
    this.#asleep = true
    this.#connection.write(packets.packet(PACKET.PRE_SLEEP))
  }

  /** To be called while nothing is under way: the server would take back what it has just given. */
  #withdraw(packets: PacketWriter, isMeant: (ability: Ability) => boolean): void {
    for (const [name, ability] of this.#abilities) {
      if (!ability.passing || ability.held > 0 || !isMeant(ability)) continue
      this.#abilities.delete(name)
      if (this.#front === name) this.#front = undefined
      packets.packet(PACKET.CANT_DO, name)
    }
  }

  #announce(packets: PacketWriter, functionName: string, passing: boolean): void {
    this.#abilities.set(functionName, { held: 0, servedAt: 0, passing, isEmpty: false })
    this.#front = functionName
    packets.packet(PACKET.CAN_DO, functionName)
  }

  /**
   * Brings the function that has had no turn for the longest to the front. gearmand looks at functions in the order in which
   * they were announced, the last first, so a long one in front would starve the others. Only one of which nothing is held
   * can be moved; one of which something is held is not starving.
   */
  #giveTurn(packets: PacketWriter): void {
    let next: { readonly name: string; readonly ability: Ability } | undefined
    for (const [name, ability] of this.#abilities) {
      if (ability.held === 0 && (next === undefined || ability.servedAt < next.ability.servedAt))
        next = { name, ability }
    }
    if (next === undefined) return
    next.ability.servedAt = ++this.#turn
    if (next.name === this.#front) return
    this.#front = next.name
    packets.packet(PACKET.CANT_DO, next.name).packet(PACKET.CAN_DO, next.name)
  }
}
