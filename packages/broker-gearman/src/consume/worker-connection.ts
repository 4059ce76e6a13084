import type { BrokerError, JobUpdate } from '@zyqueue/core/broker'
import { PacketConnection } from '../connection/packet-connection.ts'
import {
  PACKET,
  PacketWriter,
  readAssignment,
  readWaitingClients,
  type Assignment,
  type Packet,
} from '../connection/protocol.ts'
import { GearmanError } from '../errors.ts'
import type { GearmanServer } from '../gearman-server.ts'

/** The most grabs in flight. */
const MAX_WIDTH = 512

/** A function that this connection serves. */
interface Ability {
  /** How many of its jobs are unsettled. If the ability is withdrawn, the server takes all of them back. */
  held: number
  /** The turn in which it was served last. */
  servedAt: number
  /** Whether it is withdrawn when it is empty. */
  readonly isTemporary: boolean
  isEmpty: boolean
}

export interface WorkerConnectionEvents {
  /** The server may have jobs for this worker. */
  readonly onReady: () => void
  /** The server has taken back all jobs of this worker. */
  readonly onEnd: (worker: WorkerConnection, error: BrokerError) => void
}

/** A consumer's connection to one server, as a worker. The server takes back all of its jobs when it ends. */
export class WorkerConnection {
  readonly server: GearmanServer
  readonly connection: PacketConnection
  readonly #events: WorkerConnectionEvents
  readonly #abilities = new Map<string, Ability>()
  /** The ability that was announced last: the server looks at it first. */
  #first: string | undefined
  #turn = 0
  #grabbing = 0
  /** How many grabs may be in flight: few if few jobs have come lately. */
  #width = 1
  #isAsleep = false
  #lastWasJob = false

  /** Connects, and announces the client id and the queues. Rejects with `ZYQ_UNREACHABLE`, or the signal's reason. */
  static async open(
    server: GearmanServer,
    options: { readonly clientId: string; readonly queues: readonly string[]; readonly events: WorkerConnectionEvents },
    signal: AbortSignal,
  ): Promise<WorkerConnection> {
    const connection = await PacketConnection.open(server.address, signal)
    const worker = new WorkerConnection(server, connection, options.events)
    connection.isWatched = true
    const packets = new PacketWriter().packet(PACKET.SET_CLIENT_ID, options.clientId)
    for (const queue of options.queues) worker.#announce(packets, queue, false)
    connection.write(packets)
    connection.listen({
      onPacket: ({ type }) => {
        if (type === PACKET.NOOP) worker.#wakeUp()
      },
      onEnd: (error) => options.events.onEnd(worker, error),
    })
    return worker
  }

  private constructor(server: GearmanServer, connection: PacketConnection, events: WorkerConnectionEvents) {
    this.server = server
    this.connection = connection
    this.#events = events
  }

  /**
   * Asks for at most `room` jobs. `onJobs` is called once, with the jobs that the server assigns. Returns for how many it has asked: for
   * none while the worker sleeps, because the server wakes it up when there are jobs.
   */
  grab(room: number, onJobs: (jobs: readonly Assignment[]) => void): number {
    const hasSeveral = this.#abilities.size > 1
    // The order of the abilities can be changed only while no grab is in flight.
    if (!this.connection.isOpen || this.#isAsleep || (hasSeveral && this.#grabbing > 0)) return 0
    const count = Math.min(room, this.#width - this.#grabbing)
    if (count <= 0) return 0
    const packets = new PacketWriter()
    if (hasSeveral) this.#withdraw(packets, ({ isEmpty }) => isEmpty)
    if (hasSeveral && this.#lastWasJob) this.#giveTurn(packets)
    for (let asked = 0; asked < count; asked++) packets.packet(PACKET.GRAB_JOB_UNIQ)
    this.#grabbing += count
    const jobs: Assignment[] = []
    let answers = 0
    const onAnswer = (answer: Packet | GearmanError): void => {
      const job = this.#receive(answer)
      if (job !== undefined) jobs.push(job)
      if (++answers < count) return
      if (this.#grabbing === 0 && !this.#lastWasJob) this.#sleep()
      onJobs(jobs)
    }
    this.connection.ask(packets, [PACKET.JOB_ASSIGN_UNIQ, PACKET.NO_JOB], count, onAnswer, () => onJobs([]))
    return count
  }

  /** Serves this function too, until it is empty. */
  serveUntilEmpty(functionName: string): void {
    if (!this.connection.isOpen || this.#abilities.has(functionName)) return
    const packets = new PacketWriter()
    this.#announce(packets, functionName, true)
    this.connection.write(packets)
    // The server does not wake up a worker because of a new ability.
    this.#wakeUp()
  }

  /** The server says that a function that is served until it is empty has no more jobs. */
  markEmpty(functionName: string): void {
    const ability = this.#abilities.get(functionName)
    if (ability !== undefined) ability.isEmpty = true
  }

  /** A job of this function was settled. */
  forget(functionName: string): void {
    const ability = this.#abilities.get(functionName)
    if (ability !== undefined) ability.held--
  }

  /** Sends an update of a job to the client that waits for it. */
  sendUpdate(handle: string, update: JobUpdate): void {
    const packets = new PacketWriter()
    if (update.kind === 'progress') packets.packet(PACKET.WORK_STATUS, `${handle}\0${update.done}\0${update.of}`)
    else if (update.kind === 'data') packets.packet(PACKET.WORK_DATA, `${handle}\0`, update.body)
    else packets.packet(PACKET.WORK_WARNING, `${handle}\0${update.text}`)
    this.connection.write(packets)
  }

  /** The uniques of these jobs for whose end a client waits. Rejects with `ZYQ_CONNECTION_LOST`. */
  async awaitedOf(uniques: readonly string[]): Promise<ReadonlySet<string>> {
    if (uniques.length === 0) return new Set()
    const packets = new PacketWriter()
    for (const unique of uniques) packets.packet(PACKET.GET_STATUS_UNIQUE, unique)
    const answers = await this.connection.askAll(packets, [PACKET.STATUS_RES_UNIQUE], uniques.length)
    return new Set(
      uniques.filter((_, index) => {
        const answer = answers[index]
        // A server that refuses the question does not say whether a client waits.
        if (answer === undefined || answer instanceof GearmanError) return false
        return readWaitingClients(answer.body) > 0
      }),
    )
  }

  /** Gives back all jobs and closes. Resolves when the server has them back. Never rejects. */
  async close(): Promise<void> {
    // If the abilities are withdrawn, the server has the jobs back when it answers. After the mere end that takes a moment.
    await this.connection.barrier(new PacketWriter().packet(PACKET.RESET_ABILITIES)).catch(() => {})
    this.connection.close()
  }

  #receive(answer: Packet | GearmanError): Assignment | undefined {
    this.#grabbing--
    this.#lastWasJob = !(answer instanceof GearmanError) && answer.type === PACKET.JOB_ASSIGN_UNIQ
    if (answer instanceof GearmanError || answer.type === PACKET.NO_JOB) {
      this.#width = 1
      return undefined
    }
    this.#width = Math.min(this.#width * 2, MAX_WIDTH)
    const assignment = readAssignment(answer.body)
    const ability = this.#abilities.get(assignment.functionName)
    if (ability !== undefined) {
      ability.held++
      ability.servedAt = ++this.#turn
      ability.isEmpty = false
    }
    return assignment
  }

  #wakeUp(): void {
    this.#isAsleep = false
    this.#events.onReady()
  }

  /** The server looks for jobs once more before it lets the worker sleep, and sends a NOOP when there are some. */
  #sleep(): void {
    const packets = new PacketWriter()
    this.#withdraw(packets, () => true)
    this.#isAsleep = true
    this.connection.write(packets.packet(PACKET.PRE_SLEEP))
  }

  /** Must not be called while a grab is in flight: the server would take back the job that it assigns. */
  #withdraw(packets: PacketWriter, isWanted: (ability: Ability) => boolean): void {
    for (const [name, ability] of this.#abilities) {
      if (!ability.isTemporary || ability.held > 0 || !isWanted(ability)) continue
      this.#abilities.delete(name)
      if (this.#first === name) this.#first = undefined
      packets.packet(PACKET.CANT_DO, name)
    }
  }

  #announce(packets: PacketWriter, functionName: string, isTemporary: boolean): void {
    this.#abilities.set(functionName, { held: 0, servedAt: 0, isTemporary, isEmpty: false })
    this.#first = functionName
    packets.packet(PACKET.CAN_DO, functionName)
  }

  /**
   * Moves the function that was served least recently to the front. gearmand looks at functions in the order in which they were
   * announced, the last first, so a long one in front would starve the others. Only a function without unsettled jobs can be
   * moved; the others are not starving.
   */
  #giveTurn(packets: PacketWriter): void {
    let next: { readonly name: string; readonly ability: Ability } | undefined
    for (const [name, ability] of this.#abilities) {
      if (ability.held === 0 && (next === undefined || ability.servedAt < next.ability.servedAt)) {
        next = { name, ability }
      }
    }
    if (next === undefined) return
    next.ability.servedAt = ++this.#turn
    if (next.name === this.#first) return
    this.#first = next.name
    packets.packet(PACKET.CANT_DO, next.name).packet(PACKET.CAN_DO, next.name)
  }
}
