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
import { lostAnswers } from './behaviours/lost-answers.ts'
import { cutConnections, silentConnections } from './behaviours/lost-connections.ts'
import { listeners, memory } from './behaviours/memory.ts'
import { openConnections } from './behaviours/open-connections.ts'
import { priorities } from './behaviours/priorities.ts'
import { publish } from './behaviours/publish.ts'
import { receive } from './behaviours/receive.ts'
import { reconnecting } from './behaviours/reconnecting.ts'
import { release } from './behaviours/release.ts'
import { restarts } from './behaviours/restarts.ts'
import { settle } from './behaviours/settle.ts'
import { unreadableJobs } from './behaviours/unreadable-jobs.ts'
import { waitingJobs } from './behaviours/waiting-jobs.ts'
import { Coverage } from './coverage.ts'
import type { BrokerHarness } from './harness.ts'
import { LagWatch } from './lag-watch.ts'
import { timeoutOf, Fixture } from './fixture.ts'
import { SharedLock } from './shared-lock.ts'

/** How often a test is run if this process was too late for the leases of its jobs. */
const MAX_ATTEMPTS = 2

type Themes = Readonly<Record<string, Behaviours>>

/** Tests that may run beside each other. */
const themesTogether: Themes = {
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
  listeners,
  'cut connections': cutConnections,
  'silent connections': silentConnections,
  'interrupted moves': interruptedMoves,
  reconnecting,
  'lost answers': lostAnswers,
  'open connections': openConnections,
  'unreadable jobs': unreadableJobs,
}

const themesAlone: Themes = { memory, restarts }

/**
 * Registers the conformance suite: what every broker adapter must do. Tests of what the broker does not
 * have are left out, or test that it refuses; their names say so. The last test reports how much was tested.
 */
export function brokerTests(harness: BrokerHarness): void {
  const timeoutMs = 12 * timeoutOf(harness) + (harness.delayedAfterRestartMs ?? 0)
  const coverage = new Coverage(harness)
  const lock = new SharedLock()
  const define = (themes: Themes, take: (run: () => Promise<void>) => Promise<void>): void => {
    for (const [theme, behaviours] of Object.entries(themes)) {
      for (const [behaviour, bodyOrConditional] of Object.entries(behaviours)) {
        const test = conditional(bodyOrConditional)
        const name = coverage.nameOf(`${theme}: ${behaviour}`, test)
        if (name === undefined) continue
        harness.test(
          name,
          () => take(() => coverage.run(() => runWithFixture(harness, test.body, coverage))),
          timeoutMs,
        )
      }
    }
  }
  define(themesTogether, (run) => lock.runShared(run))
  define(themesAlone, (run) => lock.runExclusive(run))

  const { report = (line) => void process.stdout.write(`${line}\n`) } = harness
  const summarize = async (fixture: Fixture): Promise<void> => {
    report(coverage.summary())
    // Otherwise the wrong tests were run.
    assert.deepEqual({ ...fixture.capabilities }, { ...harness.sample.capabilities }, 'the capabilities of the sample')
    assert.deepEqual(
      featuresIn({ ...harness, sample: fixture.broker }),
      featuresIn(harness),
      'the methods of the sample',
    )
  }
  const run = (): Promise<void> => lock.runExclusive(() => runWithFixture(harness, summarize, coverage))
  harness.test('summary: the sample has the capabilities and methods of the brokers', run, timeoutMs)
}

function featuresIn(harness: BrokerHarness): readonly string[] {
  return Object.values(feature)
    .filter(({ isIn }) => isIn(harness))
    .map(({ name }) => name)
}

/** Runs a test. Runs it once again if it fails and the process was held up for so long that leases may have ended. */
async function runWithFixture(
  harness: BrokerHarness,
  body: (fixture: Fixture) => Promise<void>,
  coverage: Coverage,
): Promise<void> {
  const { messageTimeoutMs } = harness
  if (messageTimeoutMs === undefined) return runOnce(harness, body)
  for (let attempt = 1; ; attempt++) {
    const watch = new LagWatch(messageTimeoutMs / 10)
    try {
      return await runOnce(harness, body)
    } catch (error) {
      if (watch.isOnTime() || attempt === MAX_ATTEMPTS) throw error
      coverage.noteRepeat()
    } finally {
      watch.stop()
    }
  }
}

async function runOnce(harness: BrokerHarness, body: (fixture: Fixture) => Promise<void>): Promise<void> {
  const fixture = await Fixture.open(harness)
  try {
    await body(fixture)
  } catch (error) {
    fixture.explain(error)
    // Why the test failed says more than why it could not be tidied up.
    await fixture.close().catch(() => undefined)
    throw error
  }
  await fixture.close()
}
