/**
 * The program of a worker process. The supervisor forks it and sends it messages over Node's IPC channel. It runs one task
 * file until the supervisor ends it or the channel closes.
 */
import { dirname } from 'node:path'
import { fileURLToPath, pathToFileURL } from 'node:url'
import { z } from 'zod'
import { findBroker } from '../connection/discovery.ts'
import { resolution, setResolution, withEnvironment } from '../connection/resolution.ts'
import { ConfigError, messageOf, ZyQueueError } from '../errors.ts'
import { hostMonotonicMs } from '../host-clock.ts'
import { RELEASE_UNSTARTED } from '../internals.ts'
import { createLogger, type Logger } from '../logger.ts'
import { producers } from '../producer/producers.ts'
import { whileLoading } from '../tasks/loading.ts'
import { registeredTasks } from '../tasks/registry.ts'
import type { ConsumerLoop } from '../worker/consumer-loop.ts'
import { DEFAULT_CONCURRENCY, DEFAULT_LEASE_MS, DEFAULT_STALL_MS } from '../worker/options.ts'
import type { ActiveJob } from '../worker/active-job.ts'
import { Worker } from '../worker/worker.ts'
import { fatalMessage } from './fatal.ts'
import {
  LEDGER_FILE,
  PROTOCOL,
  toWorkerSchema,
  type StartMessage,
  type SupervisedConsumer,
  type ToSupervisor,
} from './ipc.ts'
import { Ledger } from './ledger.ts'
import { importLogger } from './logger-module.ts'
import { logUncaughtErrors } from './uncaught.ts'

const HEARTBEAT_MS = 500
/** The interval of an idle process. */
const IDLE_HEARTBEAT_MS = 2_000

/** How long a reading of the parent's id is used, in ms. The call costs as much as a short job. */
const PARENT_READ_MS = 5

const supervisorPid = process.ppid
let parentReadAt = performance.now()
let orphaned = false
let worker: Worker | undefined
let logger: Logger = createLogger()
let ending = false

process.on('message', (received) => {
  const { success, data: message, error } = toWorkerSchema.safeParse(received)
  if (!success)
    reportFatal(
      new ConfigError(
        'ZYQ_CONFIG',
        `The supervisor sent a message that this @zyqueue/core does not know: ${error.message}`,
      ),
    )
  else if (message.type === 'start') void start(message)
  else if (message.type === 'drain') void end((running) => running.drain())
  else void end((running) => running.close())
})
process.on('exit', () => worker?.[RELEASE_UNSTARTED]())
// The supervisor has ended: no other process would restart this one or renew its leases.
process.on('disconnect', () => void end((running) => running.drain()))
process.on('SIGTERM', () => void end((running) => running.drain(), 'it received SIGTERM'))
// The supervisor handles Ctrl+C and the end of a terminal.
process.on('SIGINT', () => {}).on('SIGHUP', () => {})
// A closed log destination must not end the jobs.
process.stdout.on('error', () => {})
process.stderr.on('error', () => {})
logUncaughtErrors(() => logger)

async function start(message: StartMessage): Promise<void> {
  try {
    process.title = `zyqueue: ${message.name}`
    if (message.protocol !== PROTOCOL) {
      throw new ConfigError(
        'ZYQ_CONFIG',
        `The supervisor uses version ${message.protocol} of the worker protocol, this @zyqueue/core version ${PROTOCOL}: update them together.`,
      )
    }
    logger = builtInLogger(message)
    await loadTasks(message)
    if (ending) return
    noteOwnBrokers(message)
    worker = superviseWorker(message)
    await worker.start()
    send({
      type: 'ready',
      tasks: registeredTasks()
        .filter(({ queue }) => message.queues?.includes(queue) ?? true)
        .map(({ name }) => name),
      hardTimeouts: registeredTasks().some(({ options }) => options.hardTimeoutMs !== undefined),
    })
    startHeartbeat(worker, message)
  } catch (error) {
    reportFatal(error)
  }
}

async function loadTasks(message: StartMessage): Promise<void> {
  const here = dirname(fileURLToPath(import.meta.url))
  setResolution({
    resolveFrom: [dirname(message.taskFile), process.cwd(), ...message.resolveFrom, here],
    baseDir: message.baseDir,
  })
  await setDefaultBroker(message)
  process.setSourceMapsEnabled(true)
  try {
    if (message.loader !== undefined) {
      const loader: unknown = await import(message.loader.module)
      await loaderSchema.parse(loader).register(message.loader.data)
    }
    const { level = 'info', module } = message.log
    if (module !== undefined) logger = (await importLogger(module, level)).child({ worker: message.name })
    await whileLoading(message.taskFile, () => import(pathToFileURL(message.taskFile).href))
  } catch (error) {
    if (error instanceof ZyQueueError) throw error
    throw new ConfigError('ZYQ_TASK_FILE', `${message.taskFile} threw while it was loaded: ${messageOf(error)}`, {
      cause: error,
    })
  }
  if (registeredTasks().length === 0) {
    throw new ConfigError('ZYQ_TASK_FILE', `${message.taskFile} defines no task with queueJob.`)
  }
}

const loaderSchema = z.object({
  register: z.custom<(data: unknown) => unknown>((value) => typeof value === 'function', 'the loader has no register'),
})

/** Sets the supervisor's broker as the default for tasks that name none. Rejects with `ConfigError`. */
async function setDefaultBroker({ server, connection }: StartMessage): Promise<void> {
  const meant = withEnvironment({ server, connection })
  if (typeof meant.server === 'object') return
  // The pair must be checked here: a server and a connection from the environment are not checked again.
  if (meant.connectionFrom !== undefined) await findBroker(meant, resolution().resolveFrom)
  setEnvironment('ZYQUEUE_SERVER', meant.server)
  setEnvironment('ZYQUEUE_CONNECTION', meant.connection)
}

function setEnvironment(name: string, value: string | undefined): void {
  if (value === undefined) delete process.env[name]
  else process.env[name] = value
}

function builtInLogger({ name, log: { level, format } }: StartMessage): Logger {
  return createLogger({ ...(level && { level }), ...(format && { format }) }).child({ worker: name })
}

/** Warns if the supervisor was started for one broker and tasks name another. */
function noteOwnBrokers({ server, connection }: StartMessage): void {
  if (server === undefined && connection === undefined) return
  const own = registeredTasks().filter(
    ({ options }) => options.server !== undefined || options.connection !== undefined,
  )
  const tasks = own.map(({ name }) => name)
  if (tasks.length > 0) logger.warn({ tasks }, 'tasks use the brokers that they name')
}

function superviseWorker(message: StartMessage): Worker {
  const { name, concurrency = DEFAULT_CONCURRENCY, leaseMs = DEFAULT_LEASE_MS } = message
  const { prefetch, graceMs, stallMs, maxJobs, queues } = message
  const ledger = new Ledger<ActiveJob>(LEDGER_FILE, concurrency, ({ session, work }) => ({
    consumerId: session.consumerId,
    jobId: work.job.id,
  }))
  return new Worker(
    {
      name,
      concurrency,
      leaseMs,
      logger,
      ...(prefetch !== undefined && { prefetch }),
      ...(graceMs !== undefined && { graceMs }),
      ...(stallMs !== undefined && { stallMs }),
      ...(maxJobs !== undefined && { maxJobs }),
      ...(queues !== undefined && { queues }),
    },
    {
      ledger,
      afterDeath: message.afterDeath,
      waitsForBroker: message.waitsForBroker,
      isOrphan,
      onSessions: (loops) =>
        send({ type: 'consumers', consumers: loops.flatMap((loop) => describeConsumer(loop, leaseMs)) }),
      onFinishing: (reason) => void end((done) => done.finishAndClose(), reason),
    },
  )
}

/**
 * True if the supervisor has ended. While handlers block this process one after another, the event `disconnect` does not come,
 * but the system has given this process another parent.
 */
function isOrphan(): boolean {
  const now = performance.now()
  if (orphaned || now - parentReadAt < PARENT_READ_MS) return orphaned
  parentReadAt = now
  orphaned = process.ppid !== supervisorPid
  return orphaned
}

function describeConsumer({ session, connection, queues }: ConsumerLoop, leaseMs: number): SupervisedConsumer[] {
  if (session === undefined) return []
  const { name, location, leases } = connection.broker
  const renewable = leases.kind === 'renewable'
  const broker = location === undefined ? name : `${name} ${location}`
  return [
    { address: connection.address, consumerId: session.consumerId, leaseMs, renewable, broker, queues: [...queues] },
  ]
}

/** Sends heartbeats to the supervisor. Ends this process if its memory exceeds `maxMemory`. */
function startHeartbeat(running: Worker, { maxMemory, stallMs = DEFAULT_STALL_MS }: StartMessage): void {
  const heartbeatMs = Math.min(HEARTBEAT_MS, stallMs / 3)
  const idleHeartbeatMs = Math.min(IDLE_HEARTBEAT_MS, stallMs / 3)
  let busyAt = hostMonotonicMs()
  let toldAt = 0
  let lastDone = 0
  const timer = setInterval(() => {
    const now = hostMonotonicMs()
    const { done, jobs, dead, running: runningJobs, waiting } = running.status
    const inHand = runningJobs + waiting
    if (inHand > 0 || done > lastDone) busyAt = now
    lastDone = done
    const idleMs = now - busyAt
    // The first idle heartbeats are sent at once, because a burst may wait for them.
    if (idleMs <= 2 * heartbeatMs || now - toldAt >= idleHeartbeatMs) {
      toldAt = now
      send({ type: 'heartbeat', at: now, done, jobs, dead, inHand, idleMs })
    }
    if (maxMemory !== undefined && !ending && process.memoryUsage.rss() > maxMemory) {
      void end((grown) => grown.finishAndClose(), 'its memory exceeds the limit')
    }
  }, heartbeatMs)
  timer.unref()
}

async function end(how: (running: Worker) => Promise<void>, retiring?: string): Promise<void> {
  const first = !ending
  ending = true
  if (first && retiring !== undefined) send({ type: 'retiring', reason: retiring, done: worker?.status.done ?? 0 })
  if (worker !== undefined) await how(worker)
  if (!first) return
  await producers.close().catch(() => {})
  if (worker !== undefined) await sendTotal(worker)
  process.exit(0)
}

function send(message: ToSupervisor): void {
  // Without a callback, a closed channel would throw an error that ends this process.
  if (process.connected) process.send?.(message, undefined, {}, () => {})
}

/** The last heartbeat, with the final figures. Resolves when it is sent, because the process then exits. */
function sendTotal({ status: { done, jobs, dead } }: Worker): Promise<void> {
  const message: ToSupervisor = { type: 'heartbeat', at: hostMonotonicMs(), done, jobs, dead, inHand: 0, idleMs: 0 }
  return new Promise((resolve) => {
    if (process.connected) process.send?.(message, undefined, {}, () => resolve())
    else resolve()
  })
}

function reportFatal(error: unknown): void {
  if (process.connected) process.send?.(fatalMessage(error), undefined, {}, () => process.exit(1))
  else process.exit(1)
}
