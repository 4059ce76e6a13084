import type { BrokerBench, CaseName, Entry, Target } from './bench.ts'
import { ContestantProcess } from './contestant-process.ts'
import { cpuSeconds } from './cpu.ts'
import type { Command, Measurement } from './messages.ts'

const FOREVER_MS = 2 ** 31 - 1

/** The duration and the amount of each measurement. */
export interface Scale {
  readonly rounds: number
  /** The length of one measurement, in ms. */
  readonly ms: number
  /** The share of a contestant's `workBacklog` that is used. */
  readonly workShare: number
  readonly pings: number
  /** The two backlogs whose rates are compared. */
  readonly backlogs: readonly [large: number, small: number]
  /** The number of waiting jobs when the server's memory is measured. */
  readonly stored: number
}

export const FULL: Scale = {
  rounds: 3,
  ms: 2_000,
  workShare: 1,
  pings: 40,
  backlogs: [1_000_000, 1_000],
  stored: 50_000,
}
export const QUICK: Scale = { rounds: 1, ms: 500, workShare: 0.2, pings: 15, backlogs: [50_000, 1_000], stored: 10_000 }

export interface Result {
  readonly value: number
  readonly cpu?: Cpu
}

/** CPU-seconds per million jobs. */
export interface Cpu {
  readonly client: number
  readonly server: number
}

export interface Case {
  readonly name: CaseName
  readonly unit: 'jobs/s' | 'ms' | 'ratio' | 'bytes/job'
  /** Measures once, on new targets. */
  measure(entry: Entry, bench: Measured, scale: Scale): Promise<Result>
}

type Measured = Pick<BrokerBench, 'newTarget' | 'workers'>

export const CASES: readonly Case[] = [
  {
    name: 'submit',
    unit: 'jobs/s',
    measure: (entry, { newTarget }, { ms }) => submits(entry, newTarget, { do: 'submit', ms, inFlight: 500 }),
  },
  {
    name: 'submitMany',
    unit: 'jobs/s',
    measure: (entry, { newTarget }, { ms }) => submits(entry, newTarget, { do: 'submitMany', ms }),
  },
  { name: 'work', unit: 'jobs/s', measure: work },
  { name: 'latency', unit: 'ms', measure: latency },
  { name: 'backlog', unit: 'ratio', measure: backlog },
  { name: 'memory', unit: 'bytes/job', measure: memory },
]

async function submits(entry: Entry, newTarget: () => Promise<Target>, order: Command): Promise<Result> {
  await using target = await newTarget()
  await using client = await ContestantProcess.start(entry.module, target.address)
  const used = cpuMeter([client], target)
  const { count, ms } = await client.call(order)
  const cpu = used(count)
  const stored = await client.call({ do: 'waiting' })
  if (stored.count !== count) throw new Error(`${count} jobs were submitted, but ${stored.count} are stored.`)
  return { value: (count / ms) * 1_000, ...(cpu && { cpu }) }
}

/** Worker processes empty a backlog. The rate is from the first handler to the last, the CPU time from the first progress report. */
async function work(entry: Entry, bench: Measured, scale: Scale): Promise<Result> {
  await using target = await bench.newTarget()
  const jobs = Math.ceil(entry.workBacklog * scale.workShare)
  await fillBacklog(entry, target, jobs)
  // If a contestant has startProcesses, it starts all workers itself.
  await using started = await startAll(entry, target, entry.startsProcesses === true ? 1 : bench.workers)
  const { workers } = started
  let since: { readonly done: number; readonly used: ReturnType<typeof cpuMeter> } | undefined
  for (const worker of workers)
    worker.onProgress = () => {
      const done = workers.reduce((sum, { progress }) => sum + progress, 0)
      if (done > 0) since ??= { done, used: cpuMeter(workers, target) }
      if (done >= jobs) for (const each of workers) each.stop()
    }
  const order: Command = { do: 'work', ms: scale.ms * 2, processes: bench.workers }
  const shares = await Promise.all(workers.map((worker) => worker.call(order)))
  const done = shares.reduce((sum, { count }) => sum + count, 0)
  const cpu = since?.used(done - since.done)
  const left = await workers[0]?.call({ do: 'waiting' })
  if (left === undefined) throw new Error('No worker process was started.')
  if (done + left.count !== jobs) throw new Error(`Of ${jobs} jobs, ${done} were run and ${left.count} are left.`)
  return { value: (done / elapsed(shares)) * 1_000, ...(cpu && { cpu }) }
}

async function startAll(
  entry: Entry,
  target: Target,
  count: number,
): Promise<AsyncDisposable & { readonly workers: readonly ContestantProcess[] }> {
  const workers: ContestantProcess[] = []
  const end = async (): Promise<void> => {
    await Promise.all(workers.map((worker) => worker[Symbol.asyncDispose]()))
  }
  try {
    while (workers.length < count) workers.push(await ContestantProcess.start(entry.module, target.address))
  } catch (error) {
    await end()
    throw error
  }
  return { workers, [Symbol.asyncDispose]: end }
}

function elapsed(shares: readonly Measurement[]): number {
  const from = Math.min(...shares.map(({ endedAt, ms }) => endedAt - ms))
  return Math.max(...shares.map(({ endedAt }) => endedAt)) - from
}

/** One process submits single jobs; another one, which is otherwise idle, measures the time until its handler runs. */
async function latency(entry: Entry, { newTarget }: Measured, { pings }: Scale): Promise<Result> {
  await using target = await newTarget()
  await using listener = await ContestantProcess.start(entry.module, target.address)
  const listening = new Promise<void>((resolve) => (listener.onProgress = resolve))
  const handled = listener.call({ do: 'work', ms: FOREVER_MS, processes: 1 })
  await Promise.race([listening, handled])
  await using sender = await ContestantProcess.start(entry.module, target.address)
  listener.onProgress = () => {
    if (listener.progress === pings) listener.stop()
  }
  await Promise.all([sender.call({ do: 'ping', count: pings, gapMs: 50 }), handled])
  const { samples = [] } = await handled
  return { value: median(samples) }
}

/**
 * The rate of one worker process at a large backlog, divided by its rate at a small one. Meanwhile as many jobs are submitted as
 * are done, so that the backlog stays constant.
 */
async function backlog(entry: Entry, { newTarget }: Measured, scale: Scale): Promise<Result> {
  const [large, small] = scale.backlogs
  return { value: (await rateAt(large)) / (await rateAt(small)) }

  async function rateAt(jobs: number): Promise<number> {
    await using target = await newTarget()
    await fillBacklog(entry, target, jobs)
    await using worker = await ContestantProcess.start(entry.module, target.address)
    const { count, ms } = await worker.call({ do: 'workAndRefill', ms: scale.ms, warmUpMs: scale.ms / 4 })
    if (count === 0) throw new Error(`No job was done within ${ms.toFixed(0)} ms at a backlog of ${jobs}.`)
    return count / ms
  }
}

/** The memory of the server for each waiting job. */
async function memory(entry: Entry, { newTarget }: Measured, { stored }: Scale): Promise<Result> {
  await using target = await newTarget()
  if (target.usedBytes === undefined)
    throw new Error('The target does not report its memory: leave out the case `memory`.')
  await fillBacklog(entry, target, 1)
  const before = await target.usedBytes()
  await fillBacklog(entry, target, stored)
  return { value: ((await target.usedBytes()) - before) / stored }
}

/** Fills a backlog in a separate process, so that the measured process starts with a clean heap and cold caches. */
async function fillBacklog(entry: Entry, target: Target, count: number): Promise<void> {
  await using filler = await ContestantProcess.start(entry.module, target.address)
  await filler.call({ do: 'fill', count })
  await filler.call({ do: 'close' })
}

/** Starts to measure the CPU time of these processes and of the server. Call the result with the number of jobs to stop. */
function cpuMeter(clients: readonly ContestantProcess[], target: Target): (jobs: number) => Cpu | undefined {
  const read = (): { client: number; server: number } | undefined => {
    const client = cpuSeconds(clients.map(({ pid }) => pid))
    const server = target.serverPid === undefined ? 0 : cpuSeconds([target.serverPid])
    return client === undefined || server === undefined ? undefined : { client, server }
  }
  const before = read()
  return (jobs) => {
    const after = read()
    if (before === undefined || after === undefined || jobs === 0) return undefined
    const perMillion = (seconds: number): number => (seconds / jobs) * 1e6
    return { client: perMillion(after.client - before.client), server: perMillion(after.server - before.server) }
  }
}

export function median(values: readonly number[]): number {
  const sorted = values.toSorted((a, b) => a - b)
  const middle = sorted.length / 2
  const [low, high] = [sorted[Math.ceil(middle) - 1], sorted[Math.floor(middle)]]
  if (low === undefined || high === undefined) throw new Error('An empty list has no median.')
  return (low + high) / 2
}
