import assert from 'node:assert/strict'
import { conditional, feature, type Behaviours } from './behaviour.ts'
import { admin } from './behaviours/admin.ts'
import { calls } from './behaviours/calls.ts'
import { closing } from './behaviours/closing.ts'
import { concurrency } from './behaviours/concurrency.ts'
import { deadLetters } from './behaviours/dead-letters.ts'
import { delays } from './behaviours/delays.ts'
import { deliveryCounts } from './behaviours/delivery-counts.ts'
import { interruptedMoves } from './behaviours/interrupted-moves.ts'
import { leases } from './behaviours/leases.ts'
import { lifecycle } from './behaviours/lifecycle.ts'
import { cutConnections, silentConnections } from './behaviours/lost-connections.ts'
import { priorities } from './behaviours/priorities.ts'
import { publish } from './behaviours/publish.ts'
import { receive } from './behaviours/receive.ts'
import { release } from './behaviours/release.ts'
import { settle } from './behaviours/settle.ts'
import { waitingJobs } from './behaviours/waiting-jobs.ts'
import { Coverage } from './coverage.ts'
import type { BrokerHarness } from './harness.ts'
import { PunctualityWatch } from './punctuality-watch.ts'
import { patienceOf, Stage } from './stage.ts'

/** How often a test is run if this process was too late for the leases of its jobs. */
const MOST_ATTEMPTS = 4

const themes: Readonly<Record<string, Behaviours>> = {
  lifecycle,
  publish,
  receive,
  settle,
  release,
  delays,
  priorities,
  leases,
  'delivery counts': deliveryCounts,
  'dead letters': deadLetters,
  calls,
  admin,
  'waiting jobs': waitingJobs,
  closing,
  concurrency,
  'cut connections': cutConnections,
  'silent connections': silentConnections,
  'interrupted moves': interruptedMoves,
}

/**
 * Registers the conformance suite: what every broker adapter must do, whoever wrote it. Tests of what the broker does not
 * have are left out, or test that it refuses; their names say so. The last test reports how much was tested.
 */
export function brokerTests(harness: BrokerHarness): void {
  const timeoutMs = 12 * patienceOf(harness)
  const coverage = new Coverage(harness)
  for (const [theme, behaviours] of Object.entries(themes)) {
    for (const [behaviour, bodyOrConditional] of Object.entries(behaviours)) {
      const test = conditional(bodyOrConditional)
      const name = coverage.nameOf(`${theme}: ${behaviour}`, test)
      if (name !== undefined) {
        harness.test(name, () => coverage.run(() => onStage(harness, test.body)), timeoutMs)
      }
    }
  }
  const { report = (line) => void process.stdout.write(`${line}\n`) } = harness
  const summarize = async (stage: Stage): Promise<void> => {
    report(await coverage.summary())
    // Otherwise the wrong tests were run.
    assert.deepEqual({ ...stage.capabilities }, { ...harness.sample.capabilities }, 'the capabilities of the sample')
    assert.deepEqual(featuresIn({ ...harness, sample: stage.broker }), featuresIn(harness), 'the methods of the sample')
  }
  harness.test('summary: the tests were of what the broker has', () => onStage(harness, summarize), timeoutMs)
}

function featuresIn(harness: BrokerHarness): readonly string[] {
  return Object.values(feature)
    .filter(({ isIn }) => isIn(harness))
    .map(({ name }) => name)
}

/** Runs a test; again, a few times, if it fails after the process was held up for so long that leases may have ended by right. */
async function onStage(harness: BrokerHarness, body: (stage: Stage) => Promise<void>): Promise<void> {
  const { messageTimeoutMs } = harness
  if (messageTimeoutMs === undefined) return onOneStage(harness, body)
  for (let attempt = 1; ; attempt++) {
    const watch = new PunctualityWatch(messageTimeoutMs / 10)
    try {
      return await onOneStage(harness, body)
    } catch (error) {
      if (watch.isPunctual() || attempt === MOST_ATTEMPTS) throw error
    } finally {
      watch.stop()
    }
  }
}

async function onOneStage(harness: BrokerHarness, body: (stage: Stage) => Promise<void>): Promise<void> {
  const stage = await Stage.open(harness)
  try {
    await body(stage)
  } catch (error) {
    stage.explain(error)
    // Why the test failed says more than why it could not be tidied up.
    await stage.close().catch(() => undefined)
    throw error
  }
  await stage.close()
}
