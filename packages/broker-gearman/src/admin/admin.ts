import {
  BrokerError,
  type BrokerAdmin,
  type DeadLetter,
  type DeadLetters,
  type Finding,
  type QueueStats,
  type WorkerStats,
} from '@zyqueue/core/broker'
import { clientInfoOf } from '../client-id.ts'
import { closed, errorCode, GearmanError } from '../errors.ts'
import { purposeOf } from '../functions.ts'
import { takeAndReturn, type Decision } from '../consume/take-and-return.ts'
import { readyAgain } from '../routes.ts'
import { askAll, type GearmanServer } from '../connection/gearman-server.ts'
import { functionsOf, levelsOf, type FunctionStatus, type Levels } from '../connection/status.ts'
import type { ReceivedJob, StoredJob } from '../message.ts'

/** The oldest server that this adapter was made for. */
const OLDEST = [1, 1, 18] as const

interface Tally {
  ready: number
  delayed: number
  active: number
  dead: number
  workers: number
}

const NOTHING: Readonly<Tally> = { ready: 0, delayed: 0, active: 0, dead: 0, workers: 0 }

/** Looks into the servers on connections of its own, which are closed afterwards: jobs go on beside it. */
export class GearmanAdmin implements BrokerAdmin {
  readonly deadLetters: DeadLetters
  readonly #servers: readonly GearmanServer[]

  constructor(servers: readonly GearmanServer[]) {
    this.#servers = servers
    this.deadLetters = {
      list: (queue, { limit }) => this.#listDead(queue, limit),
      requeue: (queue, ids) => this.#exhume(queue, ids, (job) => readyAgain(alive(job), queue)),
      purge: (queue, ids) => this.#exhume(queue, ids, () => 'delete'),
    }
  }

  async queues(): Promise<readonly QueueStats[]> {
    const sums = new Map<string, Tally>()
    const nowMs = Date.now()
    const levels = new Map<string, Levels>()
    const answers = await this.#ask((server) =>
      server.command((text) => Promise.all([functionsOf(text), levelsOf(text)])),
    )
    for (const [functions, ofServer] of answers) {
      const tallies = new Map<string, Tally>()
      for (const status of functions) add(tallies, status, nowMs)
      for (const [name, tally] of tallies) sums.set(name, sumUp(tally, sums.get(name)))
      for (const [name, each] of ofServer) levels.set(name, sumLevels(each, levels.get(name)))
    }
    return [...sums].map(([name, tally]) => ({ name, ...tally, ...levels.get(name) }))
  }

  async workers(): Promise<readonly WorkerStats[]> {
    const lists = await this.#ask(async (server) =>
      (await server.command((text) => text.list('workers'))).flatMap((line) => workerOf(line, server) ?? []),
    )
    return lists.flat()
  }

  async purge(queue: string): Promise<number> {
    const counts = await this.#ofQueue(queue, (server, functions) => {
      const waiting = functions.filter(({ name }) => ['ready', 'delayed'].includes(purposeOf(name).kind))
      return takeAndReturn(server, waiting.map(nameOf), sumOf(waiting), () => 'delete')
    })
    return total(counts)
  }

  async limit(queue: string, most: number): Promise<void> {
    await this.#ofQueue(queue, (server) =>
      // A limit of 0 is none.
      server.command((text) => text.command(`maxqueue ${queue} ${most}`)),
    )
  }

  async check(): Promise<readonly Finding[]> {
    const findings = await Promise.all(this.#servers.map((server) => this.#checkServer(server)))
    this.#assertOpen()
    return findings.flat()
  }

  async version(): Promise<string> {
    const versions = await this.#ask((server) => versionOf(server))
    return `gearmand ${[...new Set(versions)].join(', ')}`
  }

  async shutdown(): Promise<void> {
    await this.#ask(async (server) => {
      try {
        await server.command((text) => text.command('shutdown'))
      } catch (error) {
        // Some end before they answer.
        if (errorCode(error) === 'ZYQ_CONNECTION_LOST') return
        if (!(error instanceof GearmanError)) throw error
        throw new BrokerError(
          'ZYQ_BROKER',
          `gearmand at ${server.name} does not know \`shutdown\` (${error.message}). Send its process SIGTERM, or SIGUSR1 to let it end what runs`,
          { cause: error },
        )
      }
    })
  }

  async #listDead(queue: string, limit: number): Promise<readonly DeadLetter[]> {
    const newest: ReceivedJob[] = []
    await this.#ofQueue(queue, (server, functions) =>
      this.#inspectDead(server, functions, (job) => {
        newest.push(job)
        // What cannot be shown is not kept in memory.
        if (newest.length > 2 * limit + 1_000) keepNewest(newest, limit)
        return 'keep'
      }),
    )
    keepNewest(newest, limit)
    return newest.map(({ id, headers, body, death }) => ({
      id,
      queue,
      reason: death?.reason ?? '',
      headers,
      body,
      ...(death === undefined ? {} : { diedAtMs: Math.floor(death.atMs) }),
    }))
  }

  async #exhume(
    queue: string,
    ids: readonly string[] | undefined,
    verdict: (job: ReceivedJob) => Decision,
  ): Promise<number> {
    const meant = ids === undefined ? undefined : new Set(ids)
    const counts = await this.#ofQueue(queue, async (server, functions) =>
      meant?.size === 0
        ? 0
        : this.#inspectDead(server, functions, (job) => (meant?.has(job.id) === false ? 'keep' : verdict(job))),
    )
    return total(counts)
  }

  #inspectDead(
    server: GearmanServer,
    functions: readonly FunctionStatus[],
    judge: (job: ReceivedJob) => Decision,
  ): Promise<number> {
    const dead = functions.filter(({ name }) => purposeOf(name).kind === 'dead')
    return takeAndReturn(server, dead.map(nameOf), sumOf(dead), judge)
  }

  /** Works on each server with those of its functions that hold jobs of this queue. Unknown to all: `ZYQ_QUEUE_NOT_FOUND`. */
  async #ofQueue<Result>(
    queue: string,
    work: (server: GearmanServer, functions: readonly FunctionStatus[]) => Promise<Result>,
  ): Promise<readonly Result[]> {
    const results = await this.#ask(async (server) => {
      const own = (await server.command(functionsOf)).filter(({ name }) => {
        const purpose = purposeOf(name)
        return 'queue' in purpose && purpose.queue === queue
      })
      return own.length === 0 ? [] : [await work(server, own)]
    })
    if (results.every((result) => result.length === 0)) {
      throw new BrokerError('ZYQ_QUEUE_NOT_FOUND', `No Gearman server has a function "${queue}"`)
    }
    return results.flat()
  }

  async #checkServer(server: GearmanServer): Promise<readonly Finding[]> {
    try {
      const version = await versionOf(server)
      return [...checkVersion(server, version), DURABILITY]
    } catch (error) {
      if (errorCode(error) === 'ZYQ_CLOSED') throw error
      return [
        { level: 'problem', message: `No Gearman server answers at ${server.name}`, remedy: 'Start gearmand there' },
      ]
    }
  }

  #ask<Result>(ask: (server: GearmanServer) => Promise<Result>): Promise<readonly Result[]> {
    return askAll(this.#servers, ask)
  }

  #assertOpen(): void {
    if (this.#servers.some(({ signal }) => signal.aborted)) throw closed()
  }
}

const DURABILITY: Finding = {
  level: 'note',
  message: 'gearmand keeps jobs in memory unless it is started with a persistent queue',
  remedy: 'gearmand --queue-type=libsqlite3 --libsqlite3-db=FILE',
}

function checkVersion(server: GearmanServer, version: string): readonly Finding[] {
  const parts = version.split(/[.+-]/).map(Number)
  const [different = 0] = OLDEST.map((least, index) => (parts[index] ?? 0) - least).filter(
    (difference) => difference !== 0,
  )
  if (different >= 0) return []
  return [
    {
      level: 'warning',
      message: `gearmand at ${server.name} is ${version}; this adapter was made for ${OLDEST.join('.')} and later`,
      remedy: 'Update gearmand',
    },
  ]
}

function versionOf(server: GearmanServer): Promise<string> {
  return server.command((text) => text.command('version'))
}

/** A worker is on every server that it reaches. */
function sumUp(one: Tally, other: Tally = NOTHING): Tally {
  return {
    ready: one.ready + other.ready,
    delayed: one.delayed + other.delayed,
    active: one.active + other.active,
    dead: one.dead + other.dead,
    workers: Math.max(one.workers, other.workers),
  }
}

function sumLevels(one: Levels, other: Levels | undefined): Levels {
  const { high = 0, normal = 0, low = 0 } = other ?? {}
  return { high: one.high + high, normal: one.normal + normal, low: one.low + low }
}

function add(tallies: Map<string, Tally>, { name, waiting, running, workers }: FunctionStatus, nowMs: number): void {
  const purpose = purposeOf(name)
  if (!('queue' in purpose)) return
  const tally = tallies.get(purpose.queue) ?? { ...NOTHING }
  tallies.set(purpose.queue, tally)
  if (purpose.kind === 'dead') {
    // One that runs is being looked at by an operator.
    tally.dead += waiting + running
    return
  }
  tally.active += running
  if (purpose.kind === 'ready') {
    tally.ready += waiting
    tally.workers += workers
  } else if (purpose.atMs <= nowMs) tally.ready += waiting
  else tally.delayed += waiting
}

/** `39 127.0.0.1 client : function function`: a file descriptor of the server, where it comes from, its id, what it can do. */
export function workerOf(line: string, server: Pick<GearmanServer, 'name'>): WorkerStats | undefined {
  const [, descriptor, address, id, functions] = /^(\d+) (\S+) (.*) :(.*)$/s.exec(line) ?? []
  if (descriptor === undefined || address === undefined || id === undefined || functions === undefined) return undefined
  const queues = functions.split(' ').filter((name) => name !== '' && purposeOf(name).kind === 'ready')
  if (queues.length === 0) return undefined
  return {
    id: `${server.name}/${descriptor}`,
    client: clientInfoOf(id, address),
    queues: [...new Set(queues)],
    address,
    fileDescriptor: Number(descriptor),
  }
}

/** With no losses to its name; charges that are there still were counted. */
function alive({ id, headers, body, priority, charges = [] }: ReceivedJob): StoredJob {
  return { id, headers, body, priority, charges, deliveryCount: 0 }
}

function keepNewest(jobs: ReceivedJob[], limit: number): void {
  jobs.sort((a, b) => (b.death?.atMs ?? 0) - (a.death?.atMs ?? 0))
  jobs.splice(limit)
}

function nameOf({ name }: FunctionStatus): string {
  return name
}

function sumOf(functions: readonly FunctionStatus[]): number {
  return total(functions.map(({ waiting }) => waiting))
}

function total(counts: readonly number[]): number {
  return counts.reduce((sum, count) => sum + count, 0)
}
