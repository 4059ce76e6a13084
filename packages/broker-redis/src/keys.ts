/**
 * The names of all keys. Those of one queue share a hash tag, and so a slot: a script may touch all of them, and different
 * queues spread over the nodes of a cluster.
 */
export interface QueueKeys {
  readonly queue: string
  /** List of the ready jobs of priority 4 that nobody has had yet: the first is at its head. */
  readonly ready: string
  /** Sorted set of all other ready jobs: of other priorities, given back, come due. The first has the lowest score. */
  readonly sorted: string
  /** Sorted set of jobs by when they will be ready, in ms since 1970. */
  readonly delayed: string
  /** Sorted set of the consumers by when their leases end, in ms since 1970. */
  readonly leases: string
  /** Counter: each delivery has a number of its own, which is its fence. */
  readonly order: string
  /** Set of the consumers that found nothing here and wait. */
  readonly waiters: string
  /** Hash of dead letters by job id. */
  readonly dead: string
  /** Sorted set of the dead letters' fields by when they died, in µs since 1970. */
  readonly died: string
  /** Hash of what a consumer holds, by the numbers of the deliveries; and under the empty field, its last claim. */
  held(consumerId: string): string
  /** Bitmap of the ids of a series that were stored, or of one id. */
  seen(series: string): string
}

export class Keys {
  /** Set of the names of all queues. */
  readonly queues: string
  /** Hash of the consumers: who they are, and which queues they serve. */
  readonly workers: string
  /** Beginning of the channels on which consumers are woken; their ids follow. */
  readonly wake: string
  /** The beginning of all keys and channels, without the colon behind it. */
  readonly prefix: string
  readonly #known = new Map<string, QueueKeys>()

  constructor(prefix: string) {
    this.prefix = prefix
    this.queues = `${prefix}:queues`
    this.workers = `${prefix}:workers`
    this.wake = `${prefix}:wake:`
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
      seen: (series) => `${base}:seen:${series}`,
    }
    this.#known.set(queue, keys)
    return keys
  }
}

/** A `}` would end the hash tag: it and `%`, the sign for such, are percent-encoded. */
function tagOf(queue: string): string {
  return queue.replaceAll(/[%}]/g, (character) => (character === '%' ? '%25' : '%7D'))
}
