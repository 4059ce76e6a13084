import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { check, isClean, waitFor, type FinalState, type ChaosRecord, type CheckResult } from '@zyqueue/broker-test-kit'
import type { DeadLetter } from '@zyqueue/core/broker'
import { producers, setResolution, ZyQueueError, type OpenBroker } from '@zyqueue/core'
import { z } from 'zod'
import type { Fault } from './faults.ts'
import { mustBeDead, MAX_ATTEMPTS } from './load.ts'
import { warmUp } from './warm-up.ts'
import { Scenario } from './scenario.ts'
import type { TargetKind } from './target.ts'

// Brokers are dependencies of this package, whoever runs its cells.
setResolution({ resolveFrom: [import.meta.dirname], baseDir: tmpdir() })

/** How long nothing may come of what is left when all is healed, in ms: delays, backoffs, a lease, a few hard timeouts. */
const DRAIN_TIMEOUT_MS = 120_000
const DRAIN_POLL_MS = 250
const START_TIMEOUT_MS = 240_000
/** Jobs that the producer submits in a second. */
const JOBS_PER_SECOND = 150

export interface RunResult extends CheckResult {
  readonly broker: string
  readonly fault: string
  readonly seed: number
  readonly ok: boolean
  /** Where it is not ok: what the processes had to say at last. */
  readonly output?: string
}

/** Runs one cell: load, fault, heal, drain, check. The same seed makes the same choices; the timing is the machine's. */
export async function runScenario(kind: TargetKind, fault: Fault, seed: number, seconds: number): Promise<RunResult> {
  const folder = await mkdtemp(join(tmpdir(), 'zyqueue-chaos-'))
  await using target = await kind.start({
    proxied: fault.proxied ?? false,
    small: fault.small ?? false,
    exclusive: fault.exclusive ?? false,
  })
  await using scenario = new Scenario({
    target,
    broker: kind.broker,
    folder,
    seed,
    ms: seconds * 1_000,
    environment: fault.environment ?? {},
  })
  try {
    if (kind.losesNewQueues && fault.exclusive === true) await warmUp(scenario, kind)
    await scenario.supervise()
    scenario.produce('p', Math.ceil(seconds * JOBS_PER_SECOND), 1_000 / JOBS_PER_SECOND, seed)
    await waitFor('a first job', () => scenario.records().some(({ type }) => type === 'answered'), START_TIMEOUT_MS)
    await fault.apply(scenario, kind)
    await fault.heal?.(scenario)
    const producersEnded = await scenario.producersEnd(DRAIN_TIMEOUT_MS)
    const broker = await scenario.broker()
    const finalState = await drain(scenario, broker)
    const supervisorsEnded = await scenario.end()
    const result = check(recordsAfterWipe(scenario), finalState, {
      maxAttempts: MAX_ATTEMPTS,
      mustBeDead,
      idsAreUnique: kind.idsAreUnique,
    })
    const mayCountAsPoison = kind.countsLostConnections && fault.cutsConnections === true
    const ok =
      isClean(mayCountAsPoison ? { ...result, wrongDeadLetters: 0 } : result) &&
      result.waiting === 0 &&
      producersEnded &&
      supervisorsEnded
    return {
      broker: kind.broker,
      fault: fault.name,
      seed,
      ...result,
      ok,
      ...(ok
        ? {}
        : {
            output: [
              ...(producersEnded ? [] : ['a producer did not end']),
              ...(supervisorsEnded ? [] : ['a supervisor did not end as it should']),
              ...finalState.waiting,
              scenario.output,
            ].join('\n'),
          }),
    }
  } finally {
    await producers.close()
    await rm(folder, { recursive: true, force: true, maxRetries: 3 })
  }
}

/** Waits until all that was stored is done or dead, or nothing has come of it for too long. */
async function drain(scenario: Scenario, broker: OpenBroker): Promise<FinalState> {
  let [least, giveUpAt] = [Infinity, Infinity]
  for (;;) {
    const finalState = { waiting: [], dead: await deadJobs(broker, scenario.task) }
    const { lost, missingDeadLetters } = check(recordsAfterWipe(scenario), finalState, { mustBeDead })
    // What nobody acknowledged (an unknown submit, a duplicate) may still be on its way.
    const waiting = await jobsLeftIn(broker, scenario.task)
    const left = lost + missingDeadLetters + waiting.length
    if (left === 0 || performance.now() > giveUpAt) return { ...finalState, waiting }
    if (left < least) [least, giveUpAt] = [left, performance.now() + DRAIN_TIMEOUT_MS]
    await sleep(DRAIN_POLL_MS)
  }
}

/** The records; what was submitted before the broker was wiped, it need not have any more, whenever that was answered. */
function recordsAfterWipe(scenario: Scenario): readonly ChaosRecord[] {
  const records = scenario.records()
  const before = scenario.submittedBeforeWipe(records)
  return records.map((record) =>
    record.type === 'answered' && record.status === 'stored' && before.has(record.job)
      ? { ...record, status: 'unknown' }
      : record,
  )
}

/** What is in the queue, as far as the broker can tell. */
async function jobsLeftIn({ admin }: OpenBroker, task: string): Promise<readonly string[]> {
  if (admin.jobs !== undefined) {
    return (await admin.jobs(task, { limit: 100_000 })).map(({ state, id }) => `${state} ${id}`)
  }
  const [queue] = await admin.queues([task])
  return (['ready', 'delayed', 'active'] as const).flatMap((state) =>
    Array.from({ length: queue?.[state] ?? 0 }, (_, number) => `${state} ${number}`),
  )
}

async function deadJobs(broker: OpenBroker, task: string): Promise<readonly string[]> {
  const letters = await broker.admin.deadLetters.list(task, { limit: 100_000 }).catch((error: unknown) => {
    // Gearman knows a queue only while something is in it, or somebody takes from it.
    if (error instanceof ZyQueueError && error.code === 'ZYQ_QUEUE_NOT_FOUND') return []
    throw error
  })
  return [...new Set(letters.map(jobOf))]
}

const named = z.object({ job: z.string() })

/** The submitter's name for it: in the data, or the id of a message that is no job. */
function jobOf({ id, body }: DeadLetter): string {
  try {
    return named.parse(JSON.parse(Buffer.from(body).toString())).job
  } catch {
    return id
  }
}
