/** All servers behind a connection string: one, the master that sentinels name, or the masters of a cluster. */
import { readFile } from 'node:fs/promises'
import { BrokerError } from '@zyqueue/core/broker'
import { Client, type Access, type Argument } from './client.ts'
import { closedError, errorCode, notConnectedError, ServerError } from '../errors.ts'
import type { QueueKeys } from '../keys.ts'
import type { Address, Deployment } from '../options.ts'
import { integer, isList, list, text, type Reply } from './replies.ts'
import type { Script } from '../scripts/script.ts'
import { hashSlot } from './hash-slot.ts'

/** How long what is under way may take when all is closed, in ms. */
const CLOSE_TIMEOUT_MS = 2_000
/** How often a call follows a slot that moves before it gives up. */
const MAX_REDIRECTIONS = 5

interface SlotRange {
  readonly first: number
  readonly last: number
  readonly node: string
}

export class Servers {
  readonly #deployment: Deployment
  readonly #access: Omit<Access, 'tls'>
  readonly #listener: (channel: string, message: string) => void
  /** By host and port. */
  readonly #clients = new Map<string, Client>()
  readonly #channels = new Set<string>()
  readonly #closing = new AbortController()
  #tls: Access['tls']
  /** Of a cluster; where there is none, one range for all. */
  #ranges: readonly SlotRange[] = []
  #finding: Promise<void> | undefined
  /** The one that hears what is published. */
  #subscriber: Client | undefined

  /** `listener` is called with what is published on the channels that are subscribed to. */
  constructor(place: Deployment, listener: (channel: string, message: string) => void) {
    const { username, password, database } = place
    this.#deployment = place
    this.#access = { username, password, database }
    this.#listener = listener
  }

  /** The queues in groups whose keys may stand in one script: all, or in a cluster those of one slot. */
  groupBySlot(queues: readonly QueueKeys[]): readonly (readonly QueueKeys[])[] {
    if (this.#deployment.kind !== 'cluster') return queues.length === 0 ? [] : [queues]
    const groups = new Map<number, QueueKeys[]>()
    for (const keys of queues) {
      const slot = hashSlot(keys.ready)
      groups.set(slot, [...(groups.get(slot) ?? []), keys])
    }
    return [...groups.values()]
  }

  /** Opens what is not open, after looking where the masters are. Where some of a cluster are away, it goes without them. */
  async connect(): Promise<void> {
    const { signal } = this.#closing
    try {
      if (this.#deployment.tls && this.#tls === undefined) {
        const { ca } = this.#deployment
        this.#tls = { ca: ca === undefined ? undefined : await readFile(ca, 'utf8') }
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

  /** Runs a script where its keys are; all of them are in one slot. Rejects as `Client.run` does. */
  run(script: Script, keys: readonly string[], args: readonly Argument[]): Promise<Reply> {
    return this.#send(keys[0] ?? '', (client) => client.run(script, keys, args))
  }

  /** Sends a command to where its key is. */
  command(name: string, key: string, ...args: readonly Argument[]): Promise<Reply> {
    return this.#send(key, (client) => client.command(name, key, ...args))
  }

  /** The masters that are connected. */
  masters(): readonly Client[] {
    if (this.#closing.signal.aborted) throw closedError()
    const clients = this.#nodes()
      .flatMap((node) => this.#clients.get(node) ?? [])
      .filter(({ usable }) => usable)
    if (clients.length === 0) throw notConnectedError()
    return clients
  }

  /** The ACL user of this connection. */
  get user(): string {
    return this.#deployment.username ?? 'default'
  }

  /** Whether what is published is heard. Rather than to wait in vain, a consumer has the connection opened again. */
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

  /** Lets what is under way end, for a while, and ends all connections. */
  async close(): Promise<void> {
    this.#closing.abort()
    const clients = [...this.#clients.values()]
    let timer: NodeJS.Timeout | undefined
    const tooLong = new Promise<void>((resolve) => {
      timer = setTimeout(resolve, CLOSE_TIMEOUT_MS)
    })
    await Promise.race([Promise.all(clients.map((client) => client.idle())), tooLong])
    clearTimeout(timer)
    for (const client of this.#clients.values()) client.destroy()
  }

  async #send(key: string, send: (client: Client) => Promise<Reply>): Promise<Reply> {
    let client = this.#clientFor(key)
    for (let redirections = 0; ; redirections++) {
      try {
        return await send(client)
      } catch (error) {
        if (!(error instanceof ServerError) || error.code !== 'ZYQ_CONNECTION_LOST') throw error
        const target = this.#redirectTarget(error, client)
        if (redirections >= MAX_REDIRECTIONS) throw error
        client = await this.#open(target, this.#closing.signal)
        await this.#findMasters(this.#closing.signal)
      }
    }
  }

  /** Where a reply says that the key is from now on. Throws where it says that this is no master any more. */
  #redirectTarget(error: ServerError, client: Client): Address {
    const target = /^MOVED \d+ (\S+)/.exec(error.message)?.[1]
    if (target === undefined) {
      client.destroy(error)
      throw error
    }
    if (this.#deployment.kind !== 'cluster') {
      throw new BrokerError('ZYQ_BROKER', 'The server is a node of a Redis Cluster: connect with redis+cluster://')
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
    const client = await this.#openReady(address, signal)
    if (client.isReplica && this.#deployment.kind !== 'cluster') {
      client.destroy()
      throw new BrokerError(
        'ZYQ_UNREACHABLE',
        `The server ${node} is a replica, which stores nothing: connect to the master`,
      )
    }
    // Two calls may have been redirected to the same node.
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

  /** A server that still loads its data accepts connections, and no script. */
  async #openReady(address: Address, signal: AbortSignal): Promise<Client> {
    const client = await Client.open(address, { ...this.#access, tls: this.#tls }, signal)
    try {
      await client.command('EVAL', 'return 1', 0)
      return client
    } catch (error) {
      client.destroy()
      throw error
    }
  }

  async #resubscribe(): Promise<void> {
    if (this.isSubscribed) return
    const [subscriber] = this.masters()
    if (subscriber !== undefined && this.#channels.size > 0) await subscribe(subscriber, [...this.#channels])
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
      const reply = await client.command('SENTINEL', 'GET-MASTER-ADDR-BY-NAME', master)
      if (!isList(reply)) {
        throw new BrokerError('ZYQ_UNREACHABLE', `The sentinel ${nodeOf(sentinel)} knows no master of that name`)
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
      // A node that does not know its own address leaves it out.
      const name = host === null || text(host) === '' ? address.host : text(host)
      return { first: integer(first), last: integer(last), node: nodeOf({ host: name, port: integer(port) }) }
    })
    if (ranges.length === 0) throw new BrokerError('ZYQ_UNREACHABLE', 'The Redis Cluster serves no slots')
    return ranges
  }

  /** Those that hold the queues. */
  #nodes(): readonly string[] {
    return [...new Set(this.#ranges.map(({ node }) => node))]
  }

  /** A former master, or a node that was only asked where the others are, is not needed. */
  #dropOthers(nodes: readonly string[]): void {
    for (const [node, client] of this.#clients) {
      if (nodes.includes(node)) continue
      client.destroy()
      this.#clients.delete(node)
    }
  }
}

/** What the first of them answers; rejects with the error that says most where none does. */
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

/** A user without a right to the channels is not woken, and looks by itself. */
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
