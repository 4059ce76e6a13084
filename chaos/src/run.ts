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

// Brokers are dependencies of this package, not of the working directory.
setResolution({ resolveFrom: [import.meta.dirname], baseDir: tmpdir() })

/** The longest time without progress during a drain, in ms. It covers delays, backoffs, a lease and some hard timeouts. */
const DRAIN_TIMEOUT_MS = 120_000
const DRAIN_POLL_MS = 250
const START_TIMEOUT_MS = 240_000
/** Jobs per second that the producer submits. */
const JOBS_PER_SECOND = 150

export interface RunResult extends CheckResult {
  readonly broker: string
  readonly fault: string
  readonly seed: number
  readonly ok: boolean
  /** If not ok: the last output of the processes. */
  readonly output?: string
}

/**
 * Runs one fault on one broker: starts the load, applies the fault, heals it, drains the queue and checks the records. The seed
 * decides all random choices, but not the timing.
 */
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
              ...(supervisorsEnded ? [] : ['a supervisor did not exit with code 0']),
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

/** Waits until all stored jobs are done or dead, or until there was no progress for too long. */
async function drain(scenario: Scenario, broker: OpenBroker): Promise<FinalState> {
  let [least, giveUpAt] = [Infinity, Infinity]
  for (;;) {
    const finalState = { waiting: [], dead: await deadJobs(broker, scenario.task) }
    const { lost, missingDeadLetters } = check(recordsAfterWipe(scenario), finalState, { mustBeDead })
    // Jobs without an acknowledged submit (outcome unknown, or a duplicate) may still be waiting.
    const waiting = await jobsLeftIn(broker, scenario.task)
    const left = lost + missingDeadLetters + waiting.length
    if (left === 0 || performance.now() > giveUpAt) return { ...finalState, waiting }
    if (left < least) [least, giveUpAt] = [left, performance.now() + DRAIN_TIMEOUT_MS]
    await sleep(DRAIN_POLL_MS)
  }
}

/** The records. Jobs that were submitted before the broker was wiped count as unknown instead of stored. */
function recordsAfterWipe(scenario: Scenario): readonly ChaosRecord[] {
  const records = scenario.records()
  const before = scenario.submittedBeforeWipe(records)
  return records.map((record) =>
    record.type === 'answered' && record.status === 'stored' && before.has(record.job)
      ? { ...record, status: 'unknown' }
      : record,
  )
}

/** The jobs in the queue, as far as the broker knows. */
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
    // Gearman knows a queue only while it has jobs or consumers.
    if (error instanceof ZyQueueError && error.code === 'ZYQ_QUEUE_NOT_FOUND') return []
    throw error
  })
  return [...new Set(letters.map(jobOf))]
}

const named = z.object({ job: z.string() })

/** The submitter's name of a dead letter: from its data, or the id if the message is not a job. */
function jobOf({ id, body }: DeadLetter): string {
  try {
    return named.parse(JSON.parse(Buffer.from(body).toString())).job
  } catch {
    return id
  }
}
