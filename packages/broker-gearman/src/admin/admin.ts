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
import { functionsOf, levelsOf, type FunctionStatus, type Levels } from '../connection/status.ts'
import { describeFormat } from '../consume/held-job.ts'
import { takeAndReturn, type Decision } from '../consume/take-and-return.ts'
import { errorCode, GearmanError } from '../errors.ts'
import { purposeOf, type Purpose } from '../functions.ts'
import { askServers, type GearmanServer } from '../gearman-server.ts'
import { encodeJob, type ReceivedJob } from '../message.ts'

/** The oldest server that this adapter supports. */
const OLDEST = '1.1.18'

interface Tally {
  ready: number
  delayed: number
  active: number
  dead: number
  workers: number
}

const EMPTY: Readonly<Tally> = { ready: 0, delayed: 0, active: 0, dead: 0, workers: 0 }

/** Each call opens connections of its own and closes them. */
export class GearmanAdmin implements BrokerAdmin {
  readonly deadLetters: DeadLetters
  readonly #servers: readonly GearmanServer[]

  constructor(servers: readonly GearmanServer[]) {
    this.#servers = servers
    this.deadLetters = {
      list: (queue, { limit }) => this.#listDead(queue, limit),
      requeue: (queue, ids) => this.#decideDead(queue, ids, (job) => requeue(job, queue)),
      purge: (queue, ids) => this.#decideDead(queue, ids, () => 'delete'),
    }
  }

  async queues(names?: readonly string[]): Promise<readonly QueueStats[]> {
    const wanted = names === undefined ? undefined : new Set(names)
    const sums = new Map<string, Tally>()
    const levels = new Map<string, Levels>()
    const nowMs = Date.now()
    const answers = await askServers(this.#servers, (server) =>
      server.command((text) => Promise.all([functionsOf(text), levelsOf(text)])),
    )
    for (const [functions, ofServer] of answers) {
      const tallies = new Map<string, Tally>()
      for (const status of functions) add(tallies, status, nowMs)
      for (const [name, tally] of tallies) sums.set(name, sumTallies(tally, sums.get(name)))
      for (const [name, each] of ofServer) levels.set(name, sumLevels(each, levels.get(name)))
    }
    return [...sums].flatMap(([name, tally]) => {
      if (wanted?.has(name) === false) return []
      const details = levels.get(name)
      return [{ name, ...tally, ...(details === undefined ? {} : { details: { ...details } }) }]
    })
  }

  async workers(): Promise<readonly WorkerStats[]> {
    const lists = await askServers(this.#servers, async (server) =>
      (await server.command((text) => text.list('workers'))).flatMap((line) => workerOf(line, server) ?? []),
    )
    return lists.flat()
  }

  purge(queue: string): Promise<number> {
    return this.#takeFrom(queue, ['ready', 'delayed'], () => 'delete')
  }

  async limit(queue: string, most: number): Promise<void> {
    await this.#ofQueue(queue, (server) => server.command((text) => text.command(`maxqueue ${queue} ${most}`)))
  }

  async check(): Promise<readonly Finding[]> {
    const findings = await Promise.all(this.#servers.map((server) => checkServer(server)))
    return findings.flat()
  }

  async version(): Promise<string> {
    const versions = await askServers(this.#servers, (server) => versionOf(server))
    return `gearmand ${[...new Set(versions)].join(', ')}`
  }

  async shutdown(): Promise<void> {
    await askServers(this.#servers, async (server) => {
      try {
        await server.command((text) => text.command('shutdown'))
      } catch (error) {
        // Some servers end before they answer.
        if (errorCode(error) === 'ZYQ_CONNECTION_LOST') return
        if (!(error instanceof GearmanError)) throw error
        throw new BrokerError(
          'ZYQ_BROKER',
          `gearmand at ${server.name} does not know the command shutdown (${error.message}). Send its process SIGTERM, or SIGUSR1 to let running jobs end.`,
          { cause: error },
        )
      }
    })
  }

  async #listDead(queue: string, limit: number): Promise<readonly DeadLetter[]> {
    const newest: ReceivedJob[] = []
    await this.#takeFrom(queue, ['dead'], (job) => {
      newest.push(job)
      // Older ones need not stay in memory.
      if (newest.length > 2 * limit + 1_000) keepNewest(newest, limit)
      return 'keep'
    })
    keepNewest(newest, limit)
    return newest.map(({ id, headers, body, death, unknownFormat }) => ({
      id,
      queue,
      reason: death?.reason ?? (unknownFormat === undefined ? '' : describeFormat(unknownFormat)),
      headers,
      body,
      ...(death === undefined ? {} : { diedAtMs: Math.floor(death.atMs) }),
    }))
  }

  #decideDead(
    queue: string,
    ids: readonly string[] | undefined,
    decide: (job: ReceivedJob) => Decision,
  ): Promise<number> {
    const wanted = ids === undefined ? undefined : new Set(ids)
    // For no ids, each server is only asked whether it knows the queue.
    const kinds: readonly Purpose['kind'][] = wanted?.size === 0 ? [] : ['dead']
    return this.#takeFrom(queue, kinds, (job) => (wanted?.has(job.id) === false ? 'keep' : decide(job)))
  }

  /** Takes the jobs of a queue from its functions of these kinds. Resolves to how many were deleted or moved. */
  async #takeFrom(
    queue: string,
    kinds: readonly Purpose['kind'][],
    decide: (job: ReceivedJob) => Decision,
  ): Promise<number> {
    const counts = await this.#ofQueue(queue, (server, functions) => {
      const chosen = functions.filter(({ name }) => kinds.includes(purposeOf(name).kind))
      const names = chosen.map(({ name }) => name)
      return takeAndReturn(server, names, sum(chosen.map(({ waiting }) => waiting)), decide)
    })
    return sum(counts)
  }

  /** Calls `work` for each server that knows the queue, with the functions of the queue. */
  async #ofQueue<Result>(
    queue: string,
    work: (server: GearmanServer, functions: readonly FunctionStatus[]) => Promise<Result>,
  ): Promise<readonly Result[]> {
    const results = await askServers(this.#servers, async (server) => {
      const functions = (await server.command(functionsOf)).filter(({ name }) => {
        const purpose = purposeOf(name)
        return 'queue' in purpose && purpose.queue === queue
      })
      return functions.length === 0 ? [] : [await work(server, functions)]
    })
    if (results.every((result) => result.length === 0)) {
      throw new BrokerError('ZYQ_QUEUE_NOT_FOUND', `No Gearman server has a function "${queue}"`)
    }
    return results.flat()
  }
}

const DURABILITY: Finding = {
  level: 'note',
  message: 'gearmand keeps jobs in memory unless it is started with a persistent queue',
  remedy: 'gearmand --queue-type=libsqlite3 --libsqlite3-db=FILE',
}

async function checkServer(server: GearmanServer): Promise<readonly Finding[]> {
  try {
    return [...checkVersion(server, await versionOf(server)), DURABILITY]
  } catch (error) {
    if (errorCode(error) === 'ZYQ_CLOSED') throw error
    const message = `No Gearman server answers at ${server.name}`
    return [{ level: 'problem', message, remedy: 'Start gearmand there' }]
  }
}

function checkVersion(server: GearmanServer, version: string): readonly Finding[] {
  if (OLDEST.localeCompare(version, 'en', { numeric: true }) <= 0) return []
  const message = `gearmand at ${server.name} is ${version}, and this adapter supports ${OLDEST} and later`
  return [{ level: 'warning', message, remedy: 'Update gearmand' }]
}

function versionOf(server: GearmanServer): Promise<string> {
  return server.command((text) => text.command('version'))
}

/** A worker is connected to every server that it reaches, so the largest number of workers counts. */
function sumTallies(one: Tally, other: Tally = EMPTY): Tally {
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
  const tally = tallies.get(purpose.queue) ?? { ...EMPTY }
  tallies.set(purpose.queue, tally)
  if (purpose.kind === 'dead') {
    // An operator looks at the running ones.
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

/** Reads `39 127.0.0.1 client : function function`: a file descriptor of the server, the address of the worker, its id, its abilities. */
export function workerOf(line: string, server: Pick<GearmanServer, 'name'>): WorkerStats | undefined {
  const [, descriptor, address, id, functions] = /^(\d+) (\S+) (.*) :(.*)$/s.exec(line) ?? []
  if (descriptor === undefined || address === undefined || id === undefined || functions === undefined) return undefined
  const queues = functions.split(' ').filter((name) => name !== '' && purposeOf(name).kind === 'ready')
  if (queues.length === 0) return undefined
  return {
    id: `${server.name}/${descriptor}`,
    client: clientInfoOf(id, address),
    queues: [...new Set(queues)],
    details: { ip: address, file_descriptor: Number(descriptor) },
  }
}

/** Its old lost deliveries do not count any more; the notes that still exist were counted. */
function requeue({ death, ...job }: ReceivedJob, queue: string): Decision {
  // Another version of this adapter stored this dead letter, and only that one can requeue it.
  if (death === undefined && job.unknownFormat !== undefined) return 'keep'
  return encodeJob(queue, { ...job, deliveryCount: 0, dueMs: undefined }, 'copy')
}

function keepNewest(jobs: ReceivedJob[], limit: number): void {
  jobs.sort((a, b) => (b.death?.atMs ?? 0) - (a.death?.atMs ?? 0))
  jobs.splice(limit)
}

function sum(counts: readonly number[]): number {
  return counts.reduce((total, count) => total + count, 0)
}
