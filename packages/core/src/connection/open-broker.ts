import { z } from 'zod'
import type { Broker, BrokerAdmin } from '../contract/index.ts'
import { createConnection, type Connection, type ConnectionOptions } from './connection.ts'
import type { BrokerChoice } from './discovery.ts'
import { keepAlive } from '../keep-alive.ts'
import { parseOptions } from '../parse-options.ts'

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
export async function openBroker(choice: BrokerChoice = {}, options: ConnectionOptions = {}): Promise<OpenBroker> {
  parseOptions(choiceSchema, choice, 'openBroker')
  parseOptions(optionsSchema, options, 'openBroker')
  const connection = await createConnection(choice, options)
  try {
    await whileAlive(connection.open())
  } catch (error) {
    // The first error says what is wrong.
    await connection.close().catch(() => {})
    throw error
  }
  const { name, location, capabilities, admin } = connection.broker
  const ours = wrapCalls(connection)
  const open = { name, capabilities, admin: withOurErrors(admin, ours), close: () => ours(() => connection.close()) }
  return location === undefined ? open : { ...open, location }
}

const choiceSchema = z.strictObject({
  server: z.union([z.string(), z.looseObject({})], 'expected the name of a broker, or a plugin').optional(),
  connection: z.string().optional(),
  connectionFrom: z.string().optional(),
})

const optionsSchema = z.strictObject({ create: z.boolean().optional() })

/** Keeps the process alive during a call, because an adapter does not. */
function whileAlive<Result>(call: Promise<Result>): Promise<Result> {
  return call.finally(keepAlive())
}

/** Adapters reject with the engine's own errors, or throw them; callers of this function get ZyQueue's errors. */
function wrapCalls(connection: Connection) {
  return async <Result>(call: () => Promise<Result>): Promise<Result> => {
    try {
      return await whileAlive(call())
    } catch (error) {
      throw connection.wrap(error)
    }
  }
}

function withOurErrors(admin: BrokerAdmin, ours: ReturnType<typeof wrapCalls>): BrokerAdmin {
  const { deadLetters, workers, jobs, cancel, promote, limit, compact, shutdown } = admin
  return {
    queues: (names) => ours(() => admin.queues(names)),
    purge: (queue) => ours(() => admin.purge(queue)),
    check: () => ours(() => admin.check()),
    version: () => ours(() => admin.version()),
    deadLetters: {
      list: (queue, options) => ours(() => deadLetters.list(queue, options)),
      requeue: (queue, ids) => ours(() => deadLetters.requeue(queue, ids)),
      purge: (queue, ids) => ours(() => deadLetters.purge(queue, ids)),
    },
    ...(workers === undefined ? {} : { workers: () => ours(() => workers.call(admin)) }),
    ...(jobs === undefined ? {} : { jobs: (queue, options) => ours(() => jobs.call(admin, queue, options)) }),
    ...(cancel === undefined ? {} : { cancel: (queue, ids) => ours(() => cancel.call(admin, queue, ids)) }),
    ...(promote === undefined ? {} : { promote: (queue, ids) => ours(() => promote.call(admin, queue, ids)) }),
    ...(limit === undefined ? {} : { limit: (queue, most) => ours(() => limit.call(admin, queue, most)) }),
    ...(compact === undefined ? {} : { compact: (queue) => ours(() => compact.call(admin, queue)) }),
    ...(shutdown === undefined ? {} : { shutdown: () => ours(() => shutdown.call(admin)) }),
  }
}
