import type { Message } from 'amqplib'
import type { ClientInfo, PublishResult } from '@zyqueue/core/broker'
import { z } from 'zod'
import { errorCode } from './errors.ts'
import type { Link } from './link.ts'
import type { Outgoing } from './lane.ts'
import type { Publisher } from './publisher.ts'
import { exclusively, scan, type Verdict } from './scan.ts'
import { NO_DELIVERY_LIMIT } from './options.ts'
import type { Workbench } from './workbench.ts'

/** Where everybody notes the queues and workers that there are: AMQP cannot list either. */
const REGISTRY = 'zyqueue.registry'
/** So many notes are tidied by whoever adds one: most will be of workers that are gone. */
const UNTIDY = 1000

const note = z.discriminatedUnion('is', [
  z.object({ is: z.literal('queue'), name: z.string() }),
  /** A queue whose delayed jobs arrive in a queue of their own. */
  z.object({ is: z.literal('due'), name: z.string() }),
  /** A queue of the ladder of delays. */
  z.object({ is: z.literal('level'), name: z.string() }),
  z.object({
    is: z.literal('worker'),
    id: z.string(),
    /** A queue that is there for as long as the worker's connection is. */
    presence: z.string(),
    client: z.object({ name: z.string(), host: z.string(), pid: z.number() }),
    queues: z.array(z.string()),
    connectedAtMs: z.number(),
  }),
])
type Note = z.infer<typeof note>

interface Notes {
  readonly queues: readonly string[]
  /** Queues whose delayed jobs arrive in a queue of their own. */
  readonly dues: ReadonlySet<string>
  readonly levels: readonly string[]
  readonly workers: readonly WorkerNote[]
}

export interface WorkerNote {
  readonly id: string
  readonly presence: string
  readonly client: ClientInfo
  readonly queues: readonly string[]
  readonly connectedAtMs: number
}

/**
 * A durable queue of notes that nobody consumes. Each process notes a queue when it first declares it; each worker itself.
 * Who reads it deletes what is there twice or is gone.
 */
export class Registry {
  readonly #link: Link
  readonly #workbench: Workbench
  readonly #publisher: Publisher
  /** Noted by this process, on this connection. */
  readonly #noted = new Set<string>()

  constructor(link: Link, workbench: Workbench, publisher: Publisher) {
    this.#link = link
    this.#workbench = workbench
    this.#publisher = publisher
  }

  addQueue(name: string): Promise<void> {
    return this.#addOnce({ is: 'queue', name })
  }

  addDue(queue: string): Promise<void> {
    return this.#addOnce({ is: 'due', name: queue })
  }

  addLevel(name: string): Promise<void> {
    return this.#addOnce({ is: 'level', name })
  }

  addWorker(worker: WorkerNote): Promise<void> {
    return this.#add({ is: 'worker', ...worker, queues: [...worker.queues] })
  }

  /** All that was noted and may still exist, each once; of the workers those whose connections do. */
  async read(): Promise<Notes> {
    await this.#ensure()
    const queues = new Set<string>()
    const dues = new Set<string>()
    const levels = new Set<string>()
    const workers: WorkerNote[] = []
    await this.#scan(async (notes) => {
      const alive = await this.#present(notes.flatMap((each) => (each?.is === 'worker' ? [each.presence] : [])))
      return notes.map((each) => {
        if (each === undefined) return true
        if (each.is === 'queue') return queues.size === queues.add(each.name).size
        if (each.is === 'due') return dues.size === dues.add(each.name).size
        if (each.is === 'level') return levels.size === levels.add(each.name).size
        if (!alive.has(each.presence)) return true
        workers.push(each)
        return false
      })
    })
    return { queues: [...queues], dues, levels: [...levels], workers }
  }

  /** Notes of queues that are gone are not missed. */
  async removeQueues(names: ReadonlySet<string>): Promise<void> {
    for (const name of names) for (const kind of ['queue', 'due']) this.#noted.delete(`${kind} ${name}`)
    await this.#scan(async (notes) =>
      notes.map((each) => (each?.is === 'queue' || each?.is === 'due') && names.has(each.name)),
    )
  }

  async #addOnce(added: Note & { readonly name: string }): Promise<void> {
    const key = `${added.is} ${added.name}`
    if (this.#noted.has(key)) return
    this.#noted.add(key)
    await this.#add(added)
  }

  /** Never rejects: what is not noted is only not listed, and whoever needs the connection hears of its loss. */
  async #add(added: Note): Promise<void> {
    if (this.#publisher.blockedBecause !== undefined) return
    try {
      const { messageCount } = await this.#ensure()
      if (messageCount > UNTIDY) await this.read()
      await this.#publisher.publish([noteMessage(added)])
    } catch {
      // As above.
    }
  }

  #ensure(): Promise<{ readonly messageCount: number }> {
    const arguments_ = { 'x-queue-type': 'quorum', 'x-delivery-limit': NO_DELIVERY_LIMIT }
    return this.#workbench.run((channel) => channel.assertQueue(REGISTRY, { durable: true, arguments: arguments_ }))
  }

  async #scan(isSuperfluous: (notes: readonly (Note | undefined)[]) => Promise<readonly boolean[]>): Promise<void> {
    const at = { link: this.#link, workbench: this.#workbench }
    await exclusively(this.#workbench, REGISTRY, () =>
      scan(at, REGISTRY, Infinity, async (messages) => {
        const superfluous = await isSuperfluous(messages.map(noteOf))
        return superfluous.map((is): Verdict => (is ? 'delete' : 'keep'))
      }),
    )
  }

  /** A message to a queue that is gone comes back: that asks after any number of them in one go, and disturbs nobody. */
  async #present(presences: readonly string[]): Promise<ReadonlySet<string>> {
    const results = await this.#publisher.publish(
      presences.map((presence) => ({
        exchange: '',
        routingKey: presence,
        body: Buffer.alloc(0),
        properties: { mandatory: true, messageId: presence },
      })),
    )
    const isGone = (result: PublishResult | undefined): boolean =>
      result?.status === 'refused' && errorCode(result.error) === 'ZYQ_UNROUTABLE'
    return new Set(presences.filter((_, index) => !isGone(results[index])))
  }
}

function noteMessage(written: Note): Outgoing {
  return {
    exchange: '',
    routingKey: REGISTRY,
    body: Buffer.from(JSON.stringify(written)),
    properties: { contentType: 'application/json', persistent: true, mandatory: true },
  }
}

function noteOf({ content }: Message): Note | undefined {
  try {
    return note.safeParse(JSON.parse(content.toString())).data
  } catch {
    return undefined
  }
}
