import type { Broker, BrokerAdmin } from '../contract/index.ts'
import { createConnection, type Connection, type ConnectionOptions } from './connection.ts'
import type { BrokerChoice } from './discovery.ts'
import { keepAlive } from '../keep-alive.ts'

/** A connected broker, for administration. Its calls reject with `ZyQueueError`. */
export type OpenBroker = Pick<Broker, 'name' | 'location' | 'capabilities' | 'admin' | 'close'>

/**
 * A connected broker for administration. The caller must close it. Neither server nor connection means what
 * `ZYQUEUE_SERVER` and `ZYQUEUE_CONNECTION` say, else the embedded one; a server alone means that server at
 * `ZYQUEUE_CONNECTION`, if that is set. One attempt. With `create: false` no queue file is
 * made if there is none.
 *
 * Rejects with `ConfigError` where the broker is not found, and with `BrokerError` where it does not answer, or its file is
 * not to be made (`ZYQ_STORAGE_NOT_FOUND`).
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

/** Keeps the process alive for as long as the call takes: what an adapter holds does not. */
function whileAlive<Result>(call: Promise<Result>): Promise<Result> {
  return call.finally(keepAlive())
}

/** Adapters reject with the engine's own errors; callers of this function get ZyQueue's errors. */
function withOurErrors(admin: BrokerAdmin, connection: Connection): BrokerAdmin {
  const ours = <Result>(call: Promise<Result>): Promise<Result> =>
    whileAlive(call).catch((error: unknown) => {
      throw connection.wrap(error)
    })
  const { deadLetters, workers, jobs, cancel, limit, compact, shutdown } = admin
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
    ...(limit === undefined ? {} : { limit: (queue, most) => ours(limit.call(admin, queue, most)) }),
    ...(compact === undefined ? {} : { compact: (queue) => ours(compact.call(admin, queue)) }),
    ...(shutdown === undefined ? {} : { shutdown: () => ours(shutdown.call(admin)) }),
  }
}
