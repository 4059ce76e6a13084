import { z } from 'zod'
import { LOG_LEVELS } from '../logger.ts'
import { workerNumbers } from '../worker/options.ts'

/** The version of the messages between supervisor and worker process. */
export const PROTOCOL = 2

/** The descriptor of the ledger file in a worker process: the one after the IPC channel. */
export const LEDGER_FILE = 4

const addressSchema = z.object({
  url: z.string().optional(),
  connection: z.string().optional(),
  baseDir: z.string(),
})

const startSchema = z.object({
  type: z.literal('start'),
  protocol: z.number(),
  taskFile: z.string(),
  loader: z.object({ module: z.string(), data: z.unknown() }).optional(),
  server: z.string().optional(),
  connection: z.string().optional(),
  resolveFrom: z.array(z.string()),
  baseDir: z.string(),
  name: z.string(),
  /** True if the process replaces one that died. */
  afterDeath: z.boolean(),
  /** True if the process waits for unavailable brokers without a time limit. */
  waitsForBroker: z.boolean(),
  queues: z.array(z.string()).optional(),
  ...workerNumbers,
  maxMemory: z.number().positive().optional(),
  log: z.object({
    level: z.enum(LOG_LEVELS).optional(),
    format: z.enum(['pretty', 'json']).optional(),
    module: z.string().optional(),
  }),
})

/** Messages from the supervisor to a worker process. */
export const toWorkerSchema = z.discriminatedUnion('type', [
  startSchema,
  /** Finish the running jobs, then end. */
  z.object({ type: z.literal('drain') }),
  /** Release all jobs, then end. */
  z.object({ type: z.literal('stop') }),
])

const consumerSchema = z.object({
  address: addressSchema,
  consumerId: z.string(),
  leaseMs: z.number(),
  renewable: z.boolean(),
  /** The name and location of the broker, for logs. */
  broker: z.string(),
  queues: z.array(z.string()),
})

/** Messages from a worker process to the supervisor. */
export const toSupervisorSchema = z.discriminatedUnion('type', [
  z.object({
    type: z.literal('ready'),
    /** The names of the queues that it serves. */
    tasks: z.array(z.string()),
    /** True if a task has a hard timeout: the supervisor must check the ledger. */
    hardTimeouts: z.boolean(),
  }),
  /** All consumers of the process. Sent when one starts or ends. */
  z.object({ type: z.literal('consumers'), consumers: z.array(consumerSchema) }),
  /**
   * `at`: the time of the heartbeat, in ms on the host's monotonic clock. `jobs` and `dead`: the figures of `WorkerStatus`.
   * `idleMs`: how long the process has held no job.
   */
  z.object({
    type: z.literal('heartbeat'),
    at: z.number(),
    done: z.number(),
    jobs: z.number(),
    dead: z.number(),
    inHand: z.number(),
    idleMs: z.number(),
  }),
  /** The process stops receiving and ends soon. The supervisor must start its replacement. */
  z.object({ type: z.literal('retiring'), reason: z.string(), done: z.number() }),
  /** The process cannot run, and its replacement would fail for the same reason. */
  z.object({
    type: z.literal('fatal'),
    code: z.string(),
    message: z.string(),
    detail: z.string().optional(),
  }),
])

export type StartMessage = z.infer<typeof startSchema>
export type ToWorker = z.infer<typeof toWorkerSchema>
export type ToSupervisor = z.infer<typeof toSupervisorSchema>
export type SupervisedConsumer = z.infer<typeof consumerSchema>
