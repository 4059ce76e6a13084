/** The connections to all servers of a deployment: one server, the master of some sentinels, or the masters of a cluster. */
import { readFile } from 'node:fs/promises'
import { BrokerError, ConfigError } from '@zyqueue/core/broker'
import { Client, type Access, type Argument } from './client.ts'
import { commandError } from './command-errors.ts'
import { closedError, errorCode, notConnectedError, ServerError } from '../errors.ts'
import { Keys, type QueueKeys } from '../keys.ts'
import type { Address, Deployment } from '../options.ts'
import { integer, isList, list, text, type Reply } from './replies.ts'
import type { Script } from '../scripts/script.ts'
import { hashSlot } from './hash-slot.ts'

/** `close` waits this long for pending commands, in ms. */
const CLOSE_TIMEOUT_MS = 2_000
/** The maximum number of redirections of one call while a slot moves. */
const MAX_REDIRECTIONS = 5

interface SlotRange {
  readonly first: number
  readonly last: number
  readonly node: string
}

export class Servers {
  readonly keys: Keys
  readonly #deployment: Deployment
  readonly #access: Omit<Access, 'tls'>
  readonly #listener: (channel: string, message: string) => void
  /** The connections, by host and port. */
  readonly #clients = new Map<string, Client>()
  readonly #channels = new Set<string>()
  readonly #closing = new AbortController()
  #tls: Access['tls']
  /** The slots of each master of a cluster. Without a cluster, one range has all keys. */
  #ranges: readonly SlotRange[] = []
  #finding: Promise<void> | undefined
  /** The connection that subscribes to the wake channels. */
  #subscriber: Client | undefined

  /** `listener` is called for each message on the subscribed channels. */
  constructor(place: Deployment, listener: (channel: string, message: string) => void) {
    const { username, password, database, prefix } = place
    this.keys = new Keys(prefix)
    this.#deployment = place
    this.#access = { username, password, database }
    this.#listener = listener
  }

  /** Groups of queues whose keys one script may use: all queues, or in a cluster the queues of one slot. */
  groupBySlot(queues: readonly QueueKeys[]): readonly (readonly QueueKeys[])[] {
    if (this.#deployment.kind !== 'cluster') return queues.length === 0 ? [] : [queues]
    const groups = new Map<number, QueueKeys[]>()
    for (const keys of queues) {
      const slot = hashSlot(keys.ready)
      groups.set(slot, [...(groups.get(slot) ?? []), keys])
    }
    return [...groups.values()]
  }

  /** Finds the masters and opens missing connections. In a cluster, one reachable master is enough. */
  async connect(): Promise<void> {
    const { signal } = this.#closing
    try {
      if (this.#deployment.tls && this.#tls === undefined) {
        const { ca } = this.#deployment
        this.#tls = { ca: ca === undefined ? undefined : await readCertificates(ca) }
      }
      await this.#findMasters(signal)
      const nodes = this.#nodes()
      this.#dropOthers(nodes)
      const opened = await Promise.allSettled(nodes.map((node) => this.#open(addressOf(node), signal)))
      const failed = opened.find((result) => result.status === 'rejected')
      if (failed !== undefined && opened.every(({ status }) => status === 'rejected')) throw failed.reason
      await this.#resubscribe()
    } catch (error) {
      throw signal.aborted ? closedError() : error
    }
  }

  /** Runs a script on the master of its keys, which must be in one slot. Rejects as `Client.run` does, or with `explain`. */
  run(script: Script, keys: readonly string[], args: readonly Argument[]): Promise<Reply> {
    return this.#send(keys, (client) => client.run(script, keys, args))
  }

  /** Sends a command to the master of its key. */
  command(name: string, key: string, ...args: readonly Argument[]): Promise<Reply> {
    return this.#send([key], (client) => client.command(name, key, ...args))
  }

  /** The error with the keys, their queue and a remedy, if the server refused a command for these keys. Never rejects. */
  async explain(error: unknown, keys: readonly string[]): Promise<unknown> {
    if (!(error instanceof ServerError)) return error
    return commandError(error, keys, this.keys, async (key) => text(await this.#clientFor(key).command('TYPE', key)))
  }

  /** The connections to masters. Throws if there is none. */
  masters(): readonly [Client, ...Client[]] {
    if (this.#closing.signal.aborted) throw closedError()
    const [first, ...others] = this.#nodes()
      .flatMap((node) => this.#clients.get(node) ?? [])
      .filter(({ usable }) => usable)
    if (first === undefined) throw notConnectedError()
    return [first, ...others]
  }

  /** The ACL user of the connections. */
  get user(): string {
    return this.#deployment.username ?? 'default'
  }

  /** False if no wake-ups arrive. Consumers then reject, so that core reconnects. */
  get isSubscribed(): boolean {
    return this.#subscriber?.usable === true
  }

  async subscribe(channel: string): Promise<void> {
    if (this.#closing.signal.aborted) throw closedError()
    if (this.#subscriber === undefined) throw notConnectedError()
    await subscribe(this.#subscriber, [channel])
    this.#channels.add(channel)
  }

  async unsubscribe(channel: string): Promise<void> {
    this.#channels.delete(channel)
    if (this.isSubscribed) await this.#subscriber?.command('UNSUBSCRIBE', channel).catch(ignoreMissingRight)
  }

  /** Waits for pending commands, at most `CLOSE_TIMEOUT_MS`, and closes all connections. */
  async close(): Promise<void> {
    this.#closing.abort()
    const timer = setTimeout(() => this.#dropOthers([]), CLOSE_TIMEOUT_MS)
    await Promise.all([...this.#clients.values()].map((client) => client.waitUntilIdle()))
    clearTimeout(timer)
    this.#dropOthers([])
  }

  async #send(keys: readonly string[], send: (client: Client) => Promise<Reply>): Promise<Reply> {
    let client = this.#clientFor(keys[0] ?? '')
    for (let redirections = 0; ; redirections++) {
      try {
        return await send(client)
      } catch (error) {
        if (!(error instanceof ServerError)) throw error
        if (error.code !== 'ZYQ_CONNECTION_LOST') throw await this.explain(error, keys)
        const target = this.#redirectTarget(error, client)
        if (redirections >= MAX_REDIRECTIONS) throw error
        client = await this.#open(target, this.#closing.signal)
        await this.#findMasters(this.#closing.signal)
      }
    }
  }

  /** The new master of the key, from a reply with `MOVED`. Throws if the server is no longer a master. */
  #redirectTarget(error: ServerError, client: Client): Address {
    const target = /^MOVED \d+ (\S+)/.exec(error.message)?.[1]
    if (target === undefined) {
      client.destroy(error)
      throw error
    }
    const { host, port } = addressOf(target)
    return { host: host === '' ? client.address.host : host, port }
  }

  #clientFor(key: string): Client {
    if (this.#closing.signal.aborted) throw closedError()
    const slot = this.#deployment.kind === 'cluster' ? hashSlot(key) : 0
    const range = this.#ranges.find(({ first, last }) => first <= slot && slot <= last)
    const client = range === undefined ? undefined : this.#clients.get(range.node)
    if (client?.usable !== true) throw notConnectedError()
    return client
  }

  async #open(address: Address, signal: AbortSignal): Promise<Client> {
    const node = nodeOf(address)
    const known = this.#clients.get(node)
    if (known?.usable === true) return known
    known?.destroy()
    const client = await Client.open(address, { ...this.#access, tls: this.#tls }, signal)
    try {
      checkMode(client, this.#deployment.kind)
      // Rejects if the server cannot run scripts yet: while it loads its data, it only accepts connections.
      await client.command('EVAL', 'return 1', 0)
    } catch (error) {
      client.destroy()
      throw error
    }
    if (client.isReplica && this.#deployment.kind !== 'cluster') {
      client.destroy()
      throw new BrokerError(
        'ZYQ_UNREACHABLE',
        `The server ${node} is a replica and cannot store jobs. Connect to its master`,
      )
    }
    // Another call may have opened a connection to the same node meanwhile.
    const other = this.#clients.get(node)
    if (other?.usable === true || this.#closing.signal.aborted) {
      client.destroy()
      if (other?.usable === true) return other
      throw closedError()
    }
    client.listen(this.#listener)
    this.#clients.set(node, client)
    return client
  }

  async #resubscribe(): Promise<void> {
    if (this.isSubscribed) return
    const [subscriber] = this.masters()
    if (this.#channels.size > 0) await subscribe(subscriber, [...this.#channels])
    this.#subscriber = subscriber
  }

  #findMasters(signal: AbortSignal): Promise<void> {
    this.#finding ??= this.#readMasters(signal).finally(() => {
      this.#finding = undefined
    })
    return this.#finding
  }

  async #readMasters(signal: AbortSignal): Promise<void> {
    const { kind, hosts } = this.#deployment
    if (kind === 'server') {
      this.#ranges = [{ first: 0, last: 0, node: nodeOf(hosts[0]) }]
    } else if (kind === 'sentinel') {
      const master = await firstAnswer(hosts, (sentinel) => this.#askSentinel(sentinel, signal))
      this.#ranges = [{ first: 0, last: 0, node: nodeOf(master) }]
    } else {
      const known = [...this.#clients].filter(([, { usable }]) => usable).map(([node]) => addressOf(node))
      this.#ranges = await firstAnswer([...known, ...hosts], (node) => this.#askCluster(node, signal))
    }
  }

  async #askSentinel(sentinel: Address, signal: AbortSignal): Promise<Address> {
    const { sentinelUsername: username, sentinelPassword: password, master = '' } = this.#deployment
    const client = await Client.open(sentinel, { username, password, database: 0, tls: this.#tls }, signal)
    try {
      checkMode(client, 'sentinel itself')
      const reply = await client.command('SENTINEL', 'GET-MASTER-ADDR-BY-NAME', master)
      if (!isList(reply)) {
        throw new BrokerError('ZYQ_UNREACHABLE', `The sentinel ${nodeOf(sentinel)} has no such master. Check its name`)
      }
      const [host, port] = reply
      return { host: text(host), port: Number(text(port)) }
    } finally {
      client.destroy()
    }
  }

  async #askCluster(address: Address, signal: AbortSignal): Promise<readonly SlotRange[]> {
    const client = await this.#open(address, signal)
    const ranges = list(await client.command('CLUSTER', 'SLOTS')).map((entry): SlotRange => {
      const [first, last, master] = list(entry)
      const [host, port] = list(master)
      // The host is empty if the node does not know its own address.
      const name = host === null || text(host) === '' ? address.host : text(host)
      return { first: integer(first), last: integer(last), node: nodeOf({ host: name, port: integer(port) }) }
    })
    if (ranges.length === 0) throw new BrokerError('ZYQ_UNREACHABLE', 'The Redis Cluster has no node that serves slots')
    return ranges
  }

  /** The masters that hold the queues. */
  #nodes(): readonly string[] {
    return [...new Set(this.#ranges.map(({ node }) => node))]
  }

  /** Closes connections to former masters, and to nodes that only answered `CLUSTER SLOTS`. */
  #dropOthers(nodes: readonly string[]): void {
    for (const [node, client] of this.#clients) {
      if (nodes.includes(node)) continue
      client.destroy()
      this.#clients.delete(node)
    }
  }
}

/** The answer of the first server that gives one. If none does, rejects with an authentication error, else with the first error. */
async function firstAnswer<T>(addresses: readonly Address[], ask: (address: Address) => Promise<T>): Promise<T> {
  const errors: unknown[] = []
  for (const address of addresses) {
    try {
      return await ask(address)
    } catch (error) {
      errors.push(error)
    }
  }
  const [first] = errors
  const refusal = errors.find((error) => errorCode(error) === 'ZYQ_AUTH')
  throw refusal === undefined ? first : refusal
}

/** Throws `ZYQ_CONNECTION_STRING` if the server has another mode than the scheme of the connection string says. */
function checkMode({ address, mode }: Client, expected: Deployment['kind'] | 'sentinel itself'): void {
  const refuse = (is: string, scheme: string): never => {
    const message = `The server at ${nodeOf(address)} is ${is}. Begin the connection string with ${scheme}`
    throw new ConfigError('ZYQ_CONNECTION_STRING', message)
  }
  if (expected === 'sentinel itself') {
    if (mode === 'standalone' || mode === 'cluster') refuse('no sentinel', 'redis:// or redis+cluster://')
  } else if (mode === 'sentinel') {
    refuse('a sentinel, which stores no jobs', 'redis+sentinel://, and end it with the name of the master: /MASTER')
  } else if (expected === 'cluster' && mode === 'standalone') {
    refuse('no node of a Redis Cluster', 'redis://')
  } else if (expected !== 'cluster' && mode === 'cluster') {
    refuse('a node of a Redis Cluster', 'redis+cluster://')
  }
}

async function readCertificates(file: string): Promise<string> {
  const refuse = (what: string, cause?: unknown): ConfigError =>
    new ConfigError('ZYQ_CONNECTION_STRING', `The file of the parameter ca ${what}: ${file}`, { cause })
  const text = await readFile(file, 'utf8').catch((error: unknown) => {
    throw refuse('cannot be read', error)
  })
  // Node ignores a file without certificates.
  if (!text.includes('-----BEGIN CERTIFICATE-----')) throw refuse('has no certificate in PEM format')
  return text
}

/** If the user has no right to the channels, its consumers only poll. */
async function subscribe(client: Client, channels: readonly string[]): Promise<void> {
  await client.command('SUBSCRIBE', ...channels).catch(ignoreMissingRight)
}

function ignoreMissingRight(error: unknown): void {
  if (errorCode(error) !== 'ZYQ_AUTH') throw error
}

function nodeOf({ host, port }: Address): string {
  return `${host}:${port}`
}

function addressOf(node: string): Address {
  const colon = node.lastIndexOf(':')
  return { host: node.slice(0, colon), port: Number(node.slice(colon + 1)) }
}
