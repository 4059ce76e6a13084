import { z } from 'zod'
import { LOG_LEVELS } from '../logger.ts'
import { workerNumbers } from '../worker/options.ts'

/** The version of what supervisor and worker process say to each other. */
export const PROTOCOL = 2

/** The descriptor on which a worker process finds the file for its ledger: the one behind the IPC channel. */
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
  /** The process before it in its place died. */
  afterDeath: z.boolean(),
  queues: z.array(z.string()).optional(),
  ...workerNumbers,
  maxMemory: z.number().positive().optional(),
  log: z.object({ level: z.enum(LOG_LEVELS).optional(), format: z.enum(['pretty', 'json']).optional() }),
})

/** What the supervisor says to a worker process. */
export const toWorkerSchema = z.discriminatedUnion('type', [
  startSchema,
  /** Finish the jobs that run, then end. */
  z.object({ type: z.literal('drain') }),
  /** Give back all jobs, then end. */
  z.object({ type: z.literal('stop') }),
])

const consumerSchema = z.object({
  address: addressSchema,
  consumerId: z.string(),
  leaseMs: z.number(),
  renewable: z.boolean(),
  /** The broker and where it is, for people. */
  broker: z.string(),
  queues: z.array(z.string()),
})

/** What a worker process says to the supervisor. */
export const toSupervisorSchema = z.discriminatedUnion('type', [
  z.object({
    type: z.literal('ready'),
    /** The names of the queues that it serves. */
    tasks: z.array(z.string()),
    /** Whether a task has a hard timeout, so that the ledger wants looking at. */
    hardTimeouts: z.boolean(),
  }),
  /** All its consumers, whenever one begins or ends. */
  z.object({ type: z.literal('consumers'), consumers: z.array(consumerSchema) }),
  /** A sign of life. `at`: when it was given, in ms on the host's monotonic clock. `idleMs`: how long it has held no job. */
  z.object({ type: z.literal('heartbeat'), at: z.number(), done: z.number(), inHand: z.number(), idleMs: z.number() }),
  /** It takes no more jobs and ends soon: time for a successor. */
  z.object({ type: z.literal('retiring'), reason: z.string(), done: z.number() }),
  /** It cannot run: what is wrong will be wrong in the next one too. */
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
