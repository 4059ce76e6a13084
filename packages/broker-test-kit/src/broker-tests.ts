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

/** How often a test runs if the process was blocked for longer than its message timeouts allow. */
const MAX_ATTEMPTS = 2

type Themes = Readonly<Record<string, Behaviours>>

/** Tests that may run concurrently. */
const concurrentThemes: Themes = {
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

/** Tests during which no other test may run. */
const exclusiveThemes: Themes = { memory, restarts }

/**
 * Registers the conformance suite: what every broker adapter must do. If the broker lacks a feature, the tests of the feature
 * are left out, and others check that the broker refuses it. The last test reports how many tests passed and which were left out.
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
  define(concurrentThemes, (run) => lock.runShared(run))
  define(exclusiveThemes, (run) => lock.runExclusive(run))

  const { report = (line) => void process.stdout.write(`${line}\n`) } = harness
  const summarize = async (fixture: Fixture): Promise<void> => {
    report(coverage.summary())
    // If they differ, the suite has selected the wrong tests.
    assert.deepEqual(
      { ...fixture.capabilities },
      { ...harness.sample.capabilities },
      'the sample must have the capabilities of the brokers',
    )
    assert.deepEqual(
      featuresIn({ ...harness, sample: fixture.broker }),
      featuresIn(harness),
      'the sample must have the methods of the brokers',
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

/** Runs a test. If it fails and the process was blocked for so long that messages may have timed out, runs it once again. */
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
    // The reason why the test failed matters more than an error of the cleanup.
    await fixture.close().catch(() => undefined)
    throw error
  }
  await fixture.close()
}
