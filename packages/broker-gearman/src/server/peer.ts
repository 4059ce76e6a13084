import type { Socket } from 'node:net'
import {
  PACKET,
  PacketReader,
  PacketWriter,
  ProtocolError,
  splitArguments,
  WORK_PACKETS,
  type Packet,
} from '../connection/protocol.ts'
import { isFunctionName, MAX_REQUEST_BYTES, printableId, writeBounded } from './bounds.ts'
import type { Job, JobFunction, JobTable, WaitingLevel } from './jobs.ts'

const BAD_NAME = 'A function name has 1 to 512 bytes and no control characters'

/** The SUBMIT_JOB packets. */
const SUBMITS: ReadonlyMap<number, { readonly level: WaitingLevel; readonly background: boolean }> = new Map([
  [PACKET.SUBMIT_JOB_HIGH, { level: 0, background: false }],
  [PACKET.SUBMIT_JOB, { level: 1, background: false }],
  [PACKET.SUBMIT_JOB_LOW, { level: 2, background: false }],
  [PACKET.SUBMIT_JOB_HIGH_BG, { level: 0, background: true }],
  [PACKET.SUBMIT_JOB_BG, { level: 1, background: true }],
  [PACKET.SUBMIT_JOB_LOW_BG, { level: 2, background: true }],
])

/** The connection of one client or worker. */
export class Peer {
  readonly descriptor: number
  readonly address: string
  clientId = '-'
  /** The function that was announced last is the first. */
  abilities: JobFunction[] = []
  readonly held = new Set<Job>()
  readonly awaits = new Set<Job>()
  readonly #socket: Socket
  readonly #jobs: JobTable
  readonly #reader = new PacketReader('client', MAX_REQUEST_BYTES)
  #answers = new PacketWriter('server')
  #isAsleep = false
  #wantsExceptions = false

  constructor(socket: Socket, jobs: JobTable, descriptor: number) {
    this.#socket = socket
    this.#jobs = jobs
    this.descriptor = descriptor
    this.address = socket.remoteAddress ?? '-'
  }

  /** Processes a chunk. Closes the connection if the peer does not speak the protocol. */
  read(chunk: Buffer): void {
    try {
      this.#reader.push(chunk, (packet) => this.#receive(packet))
    } catch (error) {
      if (!(error instanceof ProtocolError)) throw error
      this.#socket.destroy()
    }
    this.flush()
  }

  flush(): void {
    const answers = this.#answers
    this.#answers = new PacketWriter('server')
    writeBounded(this.#socket, answers.buffers())
  }

  /** Sends a NOOP to a sleeping worker: there may be a job. */
  wake(): void {
    if (!this.#isAsleep) return
    this.#isAsleep = false
    this.#notify(PACKET.NOOP)
  }

  /** Requeues its running jobs, and ends the waiting jobs that no other client waits for. */
  leave(): void {
    for (const ability of this.abilities) ability.workers.delete(this)
    for (const job of this.held) this.#jobs.requeue(job)
    for (const job of this.awaits) {
      job.awaitedBy.delete(this)
      if (!job.background && job.awaitedBy.size === 0 && job.worker === undefined) this.#jobs.end(job)
    }
  }

  #receive({ type, body }: Packet): void {
    const submit = SUBMITS.get(type)
    if (submit !== undefined) return this.#submit(body, submit)
    switch (type) {
      case PACKET.ECHO_REQ:
        this.#answers.packet(PACKET.ECHO_RES, '', body)
        return
      case PACKET.CAN_DO:
        return this.#canDo(body.toString())
      case PACKET.CANT_DO:
        return this.#cantDo(body.toString())
      case PACKET.RESET_ABILITIES:
        for (const { name } of this.abilities) this.#cantDo(name)
        return
      case PACKET.PRE_SLEEP:
        this.#isAsleep = true
        if (this.abilities.some((ability) => ability.next() !== undefined)) this.wake()
        return
      case PACKET.GRAB_JOB:
      case PACKET.GRAB_JOB_UNIQ:
        return this.#grab(type === PACKET.GRAB_JOB_UNIQ)
      case PACKET.SET_CLIENT_ID:
        this.clientId = printableId(body.toString())
        return
      case PACKET.OPTION_REQ:
        return this.#option(body.toString())
      case PACKET.GET_STATUS:
        return this.#status(body.toString())
      case PACKET.GET_STATUS_UNIQUE:
        return this.#statusOfUnique(body.toString())
      default:
        if (!WORK_PACKETS.has(type)) throw new ProtocolError(`A peer sent a packet of type ${type}`)
        return this.#report(type, body)
    }
  }

  #submit(body: Buffer, { level, background }: { readonly level: WaitingLevel; readonly background: boolean }): void {
    const { texts, rest } = splitArguments(body, 2)
    const [name = '', unique = ''] = texts
    if (!isFunctionName(name)) return this.#refuse('INVALID_FUNCTION_NAME', BAD_NAME)
    // A view would keep the whole chunk in memory.
    const job = this.#jobs.submit(name, { unique, workload: Buffer.from(rest), level, background })
    if (job === undefined) return this.#refuse('QUEUE_ERROR', 'The job queue is full')
    if (!background) {
      job.awaitedBy.add(this)
      this.awaits.add(job)
    }
    this.#answers.packet(PACKET.JOB_CREATED, job.handle)
  }

  #canDo(name: string): void {
    if (!isFunctionName(name)) return this.#refuse('INVALID_FUNCTION_NAME', BAD_NAME)
    const ability = this.#jobs.functionNamed(name)
    this.abilities = [ability, ...this.abilities.filter((other) => other !== ability)]
    ability.workers.add(this)
  }

  #cantDo(name: string): void {
    this.abilities = this.abilities.filter((ability) => ability.name !== name)
    this.#jobs.functions.get(name)?.workers.delete(this)
    for (const job of this.held) if (job.of.name === name) this.#jobs.requeue(job)
  }

  #grab(withUnique: boolean): void {
    this.#isAsleep = false
    for (const ability of this.abilities) {
      const job = ability.next()
      if (job === undefined) continue
      this.#jobs.assign(job, this)
      const head = `${job.handle}\0${ability.name}\0`
      if (withUnique) this.#answers.packet(PACKET.JOB_ASSIGN_UNIQ, `${head}${job.unique}\0`, job.workload)
      else this.#answers.packet(PACKET.JOB_ASSIGN, head, job.workload)
      return
    }
    this.#answers.packet(PACKET.NO_JOB)
  }

  #option(name: string): void {
    if (name !== 'exceptions') return this.#refuse('UNKNOWN_OPTION', `Unknown option ${name}`)
    this.#wantsExceptions = true
    this.#answers.packet(PACKET.OPTION_RES, name)
  }

  #status(handle: string): void {
    const job = this.#jobs.byHandle.get(handle)
    this.#answers.packet(PACKET.STATUS_RES, [handle, ...statusOf(job)].join('\0'))
  }

  #statusOfUnique(unique: string): void {
    const job = this.#jobs.findByUnique(unique)
    this.#answers.packet(PACKET.STATUS_RES_UNIQUE, [unique, ...statusOf(job), job?.awaitedBy.size ?? 0].join('\0'))
  }

  #report(type: number, body: Buffer): void {
    const end = body.indexOf(0)
    const handle = body.toString('utf8', 0, end < 0 ? body.length : end)
    const job = this.#jobs.byHandle.get(handle)
    if (job?.worker !== this) return this.#refuse('JOB_NOT_FOUND', 'Job given in work result not found')
    const rest = end < 0 ? Buffer.alloc(0) : body.subarray(end + 1)
    if (type === PACKET.WORK_STATUS) {
      const { texts, rest: of } = splitArguments(rest, 1)
      job.progress = [texts[0] ?? '0', of.toString()]
    }
    for (const client of job.awaitedBy) client.#forward(type, handle, rest)
    const isEnd = type === PACKET.WORK_COMPLETE || type === PACKET.WORK_FAIL || type === PACKET.WORK_EXCEPTION
    if (isEnd) this.#jobs.end(job)
  }

  #forward(type: number, handle: string, rest: Buffer): void {
    if (type === PACKET.WORK_FAIL) this.#notify(type, handle)
    else if (type === PACKET.WORK_EXCEPTION && !this.#wantsExceptions) this.#notify(PACKET.WORK_FAIL, handle)
    else this.#notify(type, `${handle}\0`, rest)
  }

  /** Sends a packet that answers no request of this peer. */
  #notify(type: number, head = '', last?: Buffer): void {
    this.#answers.packet(type, head, last)
    setImmediate(() => this.flush())
  }

  #refuse(code: string, text: string): void {
    this.#answers.packet(PACKET.ERROR, `${code}\0${text}`)
  }
}

/** Known, running, numerator, denominator. */
function statusOf(job: Job | undefined): readonly (string | number)[] {
  return job === undefined ? [0, 0, 0, 0] : [1, job.worker === undefined ? 0 : 1, ...job.progress]
}
