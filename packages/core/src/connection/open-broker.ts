import type { Broker, BrokerAdmin } from '../contract/index.ts'
import { createConnection, type Connection, type ConnectionOptions } from './connection.ts'
import type { BrokerChoice } from './discovery.ts'
import { keepAlive } from '../keep-alive.ts'

/** A connected broker, for administration. Its calls reject with `ZyQueueError`. */
export type OpenBroker = Pick<Broker, 'name' | 'location' | 'capabilities' | 'admin' | 'close'>

/**
 * Opens a broker for administration. The caller must close it. An empty choice means `ZYQUEUE_SERVER` and
 * `ZYQUEUE_CONNECTION`, or the embedded broker if they are not set. A server alone uses `ZYQUEUE_CONNECTION` if it is set.
 * It tries once. With `create: false` it does not create a missing queue file.
 *
 * Rejects with `ConfigError` if the broker is not found, and with `BrokerError` if it does not answer or its file is missing
 * (`ZYQ_STORAGE_NOT_FOUND`).
 */
export async function openBroker(choice: BrokerChoice, options?: ConnectionOptions): Promise<OpenBroker> {
  const connection = await createConnection(choice, options)
  try {
    await whileAlive(connection.open())
  } catch (error) {
    await connection.close()
    throw error
  }
  const { name, location, capabilities, admin } = connection.broker
  const open = { name, capabilities, admin: withOurErrors(admin, connection), close: () => connection.close() }
  return location === undefined ? open : { ...open, location }
}

/** Keeps the process alive during a call, because an adapter does not. */
function whileAlive<Result>(call: Promise<Result>): Promise<Result> {
  return call.finally(keepAlive())
}

/** Adapters reject with the engine's own errors; callers of this function get ZyQueue's errors. */
function withOurErrors(admin: BrokerAdmin, connection: Connection): BrokerAdmin {
  const ours = <Result>(call: Promise<Result>): Promise<Result> =>
    whileAlive(call).catch((error: unknown) => {
      throw connection.wrap(error)
    })
  const { deadLetters, workers, jobs, cancel, promote, limit, compact, shutdown } = admin
  return {
    queues: (names) => ours(admin.queues(names)),
    purge: (queue) => ours(admin.purge(queue)),
    check: () => ours(admin.check()),
    version: () => ours(admin.version()),
    deadLetters: {
      list: (queue, options) => ours(deadLetters.list(queue, options)),
      requeue: (queue, ids) => ours(deadLetters.requeue(queue, ids)),
      purge: (queue, ids) => ours(deadLetters.purge(queue, ids)),
    },
    ...(workers === undefined ? {} : { workers: () => ours(workers.call(admin)) }),
    ...(jobs === undefined ? {} : { jobs: (queue, options) => ours(jobs.call(admin, queue, options)) }),
    ...(cancel === undefined ? {} : { cancel: (queue, ids) => ours(cancel.call(admin, queue, ids)) }),
    ...(promote === undefined ? {} : { promote: (queue, ids) => ours(promote.call(admin, queue, ids)) }),
    ...(limit === undefined ? {} : { limit: (queue, most) => ours(limit.call(admin, queue, most)) }),
    ...(compact === undefined ? {} : { compact: (queue) => ours(compact.call(admin, queue)) }),
    ...(shutdown === undefined ? {} : { shutdown: () => ours(shutdown.call(admin)) }),
  }
}
