/** The process of one contestant: loads its module and executes the commands of the harness over IPC. */
import { setTimeout as sleep } from 'node:timers/promises'
import { pathToFileURL } from 'node:url'
import { now, payload, type Contestant, type Payload, type Session, type WorkerProcesses } from './contestant.ts'
import { command, type Command, type Measurement, type Report } from './messages.ts'
import { createCounter } from './tally.ts'

/** The interval of progress reports during `work`, in ms. */
const PROGRESS_MS = 20
/** The number of jobs of one refill. */
const REFILL = 100

const [modulePath = '', target = ''] = process.argv.slice(2)
const stopping = new AbortController()
// Brokers do not keep the process alive.
setInterval(() => {}, 2 ** 31 - 1)

try {
  const { contestant }: { contestant: Contestant } = await import(pathToFileURL(modulePath).href)
  const session = await contestant.open(target)
  process.on('message', (message) => void execute(session, command.parse(message)))
  process.once('disconnect', () => process.exit(0))
  send({ is: 'ready' })
} catch (error) {
  fail(error)
}

async function execute(session: Session, order: Command): Promise<void> {
  if (order.do === 'stop') return stopping.abort()
  try {
    send({ is: 'answer', measurement: await run(session, order) })
  } catch (error) {
    fail(error)
  }
}

function run(session: Session, order: Exclude<Command, { do: 'stop' }>): Promise<Measurement> {
  switch (order.do) {
    case 'submit':
      return submit(session, order.ms, order.inFlight)
    case 'submitMany':
      return timed((until) => submitMany(session, until), order.ms)
    case 'fill':
      return timed(async () => {
        const jobs = take(order.count)
        await (session.fill ? session.fill(jobs) : session.submitMany(jobs))
        return order.count
      })
    case 'work':
      return work(session, order.ms, order.processes)
    case 'workAndRefill':
      return workAndRefill(session, order.ms, order.warmUpMs)
    case 'ping':
      return timed(async () => {
        for (let id = 0; id < order.count; id++) {
          await sleep(order.gapMs * (0.5 + Math.random()))
          await session.submit(payload(id))
        }
        return order.count
      })
    case 'waiting':
      return timed(() => session.waiting())
    case 'close':
      return timed(async () => {
        await session.close()
        return 0
      })
  }
}

async function timed(run: (until: number) => Promise<number>, ms = Infinity): Promise<Measurement> {
  const from = now()
  const count = await run(from + ms)
  const endedAt = now()
  return { count, ms: endedAt - from, endedAt }
}

function submit(session: Session, ms: number, inFlight: number): Promise<Measurement> {
  return timed(async (until) => {
    let count = 0
    const submitLoop = async (): Promise<void> => {
      while (now() < until) await session.submit(payload(count++))
    }
    await Promise.all(Array.from({ length: inFlight }, submitLoop))
    return count
  }, ms)
}

async function submitMany(session: Session, until: number): Promise<number> {
  let count = 0
  const jobs = function* (): Generator<Payload> {
    // Reading the clock costs time, so read it only once per hundred jobs.
    while (count % 100 !== 0 || now() < until) yield payload(count++)
  }
  await session.submitMany(jobs())
  return count
}

function* take(count: number): Generator<Payload> {
  for (let id = 0; id < count; id++) yield payload(id)
}

/** Works until the command `stop` or until `ms` have passed. The measured time is from the first handler to the last. */
async function work(session: Session, ms: number, processes: number): Promise<Measurement> {
  const workers = await startWorkers(session, processes)
  const progress = setInterval(() => send({ is: 'progress', count: workers.done().count }), PROGRESS_MS)
  await pause(ms)
  clearInterval(progress)
  const { count, startedAt, endedAt, samples } = await workers.end()
  return { count, ms: endedAt - startedAt, endedAt, samples }
}

/** Starts worker processes if the contestant has `startProcesses`, otherwise a worker in this process. */
async function startWorkers(session: Session, processes: number): Promise<WorkerProcesses> {
  if (session.startProcesses !== undefined) return session.startProcesses(processes)
  const { note, read } = createCounter()
  const stop = await session.work(note)
  return {
    done: read,
    async end() {
      await stop()
      return read()
    },
  }
}

async function workAndRefill(session: Session, ms: number, warmUpMs: number): Promise<Measurement> {
  let count = 0
  const end = await session.work(async () => {
    if (++count % REFILL === 0) await session.submitMany(take(REFILL))
  })
  await pause(warmUpMs)
  const [from, before] = [now(), count]
  await pause(ms)
  const [endedAt, done] = [now(), count - before]
  await end()
  return { count: done, ms: endedAt - from, endedAt }
}

/** Waits until the time has passed or the harness sends `stop`. */
function pause(ms: number): Promise<void> {
  return sleep(ms, undefined, { signal: stopping.signal }).catch(() => {})
}

function send(message: Report): void {
  process.send?.(message)
}

function fail(error: unknown): void {
  send({ is: 'failure', message: error instanceof Error ? (error.stack ?? error.message) : String(error) })
}
