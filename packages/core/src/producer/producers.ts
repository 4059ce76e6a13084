import type { BrokerPlugin } from '../contract/index.ts'
import { createConnection } from '../connection/connection.ts'
import type { BrokerChoice } from '../connection/discovery.ts'
import { Producer } from './producer.ts'

/** A shared producer and the number of its current users. */
interface Shared {
  readonly producer: Promise<Producer>
  users: number
  unused: (() => void) | undefined
}

/** By server, then by connection. Tasks with the same choice share a producer. */
const open = new Map<string | BrokerPlugin | undefined, Map<string | undefined, Shared>>()
/** Producers that are being closed. */
const closing = new Set<Promise<void>>()

/**
 * Calls `use` with the process's producer for a broker and connection. It is opened on first use and not closed before `use`
 * has settled. Rejects as `use` does, and with `ConfigError` if the broker is not found.
 */
export async function withProducer<Result>(
  choice: BrokerChoice,
  use: (producer: Producer) => Promise<Result>,
): Promise<Result> {
  const shared = sharedFor(choice)
  shared.users++
  try {
    return await use(await shared.producer)
  } finally {
    if (--shared.users === 0) shared.unused?.()
  }
}

/** The process's producer for a broker and connection; opened on first use. Rejects with `ConfigError`. */
export function producerFor(choice: BrokerChoice): Promise<Producer> {
  return sharedFor(choice).producer
}

/** Closes a producer when its submits have settled. The next submit opens a new one. */
export async function closeProducer({ server, connection }: BrokerChoice): Promise<void> {
  const byConnection = open.get(server)
  const shared = byConnection?.get(connection)
  byConnection?.delete(connection)
  if (byConnection?.size === 0) open.delete(server)
  if (shared !== undefined) await close(shared)
}

/**
 * The connections through which this process submits. They do not keep the process alive, so closing them is optional:
 * `await producers.close()` or `await using _ = producers` waits for pending submits and closes all connections. A
 * `submitMany` that is still reading then rejects with `ZYQ_CLOSED`. The next submit opens new connections.
 */
export const producers: AsyncDisposable & { close(): Promise<void> } = {
  async close() {
    const all = [...open.values()].flatMap((byConnection) => [...byConnection.values()])
    open.clear()
    for (const shared of all) void close(shared)
    const settled = await Promise.allSettled(closing)
    for (const result of settled) if (result.status === 'rejected') throw result.reason
  },
  async [Symbol.asyncDispose]() {
    await producers.close()
  },
}

function sharedFor(choice: BrokerChoice): Shared {
  const { server, connection } = choice
  let byConnection = open.get(server)
  if (byConnection === undefined) open.set(server, (byConnection = new Map()))
  const known = byConnection.get(connection)
  if (known !== undefined) return known
  const producer = createConnection(choice).then((made) => new Producer(made))
  const shared: Shared = { producer, users: 0, unused: undefined }
  byConnection.set(connection, shared)
  producer.catch(() => {
    // A missing broker may be installed before the next submit.
    if (byConnection.get(connection) === shared) byConnection.delete(connection)
  })
  return shared
}

function close(shared: Shared): Promise<void> {
  const closed = closeUnused(shared).finally(() => closing.delete(closed))
  closing.add(closed)
  return closed
}

async function closeUnused(shared: Shared): Promise<void> {
  if (shared.users > 0) {
    await new Promise<void>((resolve) => {
      shared.unused = resolve
    })
  }
  const producer = await shared.producer.catch(() => undefined)
  await producer?.close()
}
