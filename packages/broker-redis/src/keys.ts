/**
 * The keys of a queue. They share a hash tag and therefore a slot: one script may use all of them, and queues are distributed over
 * the nodes of a cluster.
 */
export interface QueueKeys {
  readonly queue: string
  /** List of the ready jobs of priority 4 that were never delivered. The first job is at its head. */
  readonly ready: string
  /** Sorted set of all other ready jobs: of other priorities, released or formerly delayed. The first job has the lowest score. */
  readonly sorted: string
  /** Sorted set of delayed jobs by their due time, in ms since 1970. */
  readonly delayed: string
  /** Sorted set of consumers by the end of their lease, in ms since 1970. */
  readonly leases: string
  /** Counter of deliveries. A number is never used twice, so that a former owner cannot settle a later delivery. */
  readonly order: string
  /** Set of consumers that found no job and wait. */
  readonly waiters: string
  /** Hash of dead letters by job id. */
  readonly dead: string
  /** Sorted set of the fields of dead letters by the time of their death, in µs since 1970. */
  readonly died: string
  /** Hash of the jobs of a consumer by delivery number. The empty field has the consumer's last claim. */
  held(consumerId: string): string
  /** Bitmap of the published ids of a series, or of one id. */
  dedupe(series: string): string
}

/** The types of the keys as `TYPE` replies them, by the part behind the hash tag, or behind the prefix. */
const TYPES: Readonly<Record<string, string>> = {
  ready: 'list',
  sorted: 'zset',
  delayed: 'zset',
  leases: 'zset',
  order: 'string',
  waiters: 'set',
  dead: 'hash',
  died: 'zset',
  held: 'hash',
  dedupe: 'string',
  queues: 'set',
  workers: 'hash',
}

export class Keys {
  /** Set of the names of all queues. */
  readonly queues: string
  /** Hash of consumers by id: client and queues. */
  readonly workers: string
  /** The prefix of the wake channels. The consumer's id follows. */
  readonly wake: string
  /** The prefix of all keys and channels, without the colon. */
  readonly prefix: string
  readonly #known = new Map<string, QueueKeys>()

  constructor(prefix: string) {
    this.prefix = prefix
    this.queues = `${prefix}:queues`
    this.workers = `${prefix}:workers`
    this.wake = `${prefix}:wake:`
  }

  /** The queue of a key, if it has one, and the type that the key must have. */
  describe(key: string): { readonly queue: string | undefined; readonly type: string } {
    const [, tag, part = ''] = /^:(?:\{([^}]*)\}:)?([a-z]+)/.exec(key.slice(this.prefix.length)) ?? []
    const queue = tag?.replaceAll(/%(25|7D)/g, (_, code) => (code === '25' ? '%' : '}'))
    return { queue, type: TYPES[part] ?? '' }
  }

  of(queue: string): QueueKeys {
    const known = this.#known.get(queue)
    if (known !== undefined) return known
    const base = `${this.prefix}:{${tagOf(queue)}}`
    const keys: QueueKeys = {
      queue,
      ready: `${base}:ready`,
      sorted: `${base}:sorted`,
      delayed: `${base}:delayed`,
      leases: `${base}:leases`,
      order: `${base}:order`,
      waiters: `${base}:waiters`,
      dead: `${base}:dead`,
      died: `${base}:died`,
      held: (consumerId) => `${base}:held:${consumerId}`,
      dedupe: (series) => `${base}:dedupe:${series}`,
    }
    this.#known.set(queue, keys)
    return keys
  }
}

/** Percent-encodes `}`, which would end the hash tag, and `%`. */
function tagOf(queue: string): string {
  return queue.replaceAll(/[%}]/g, (character) => (character === '%' ? '%25' : '%7D'))
}
