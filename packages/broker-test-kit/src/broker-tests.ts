import type { Behaviours } from './behaviour.ts'
import { admin } from './behaviours/admin.ts'
import { calls } from './behaviours/calls.ts'
import { closing } from './behaviours/closing.ts'
import { concurrency } from './behaviours/concurrency.ts'
import { deadLetters } from './behaviours/dead-letters.ts'
import { delays } from './behaviours/delays.ts'
import { deliveryCounts } from './behaviours/delivery-counts.ts'
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
import type { BrokerHarness } from './harness.ts'
import { Stage } from './stage.ts'
import { Turns } from './turns.ts'

type Themes = Readonly<Record<string, Behaviours>>

const themes: Themes = {
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
}

/**
 * Registers the conformance suite: what every broker adapter must do, whoever wrote it. Each test reads the capabilities:
 * where the broker says that it cannot do a thing, the test is that it says so when asked to.
 */
export function brokerTests(harness: BrokerHarness): void {
  const timeoutMs = 12 * (harness.patienceMs ?? 10_000)
  const turns = new Turns()
  const define = (themesOfHarness: Themes, take: (run: () => Promise<void>) => Promise<void>): void => {
    for (const [theme, behaviours] of Object.entries(themesOfHarness)) {
      for (const [behaviour, body] of Object.entries(behaviours)) {
        harness.test(`${theme}: ${behaviour}`, () => take(() => onStage(harness, body)), timeoutMs)
      }
    }
  }
  const { killConnection, stallConnection, healConnection } = harness
  define(
    {
      ...themes,
      ...(killConnection && { 'cut connections': cutConnections }),
      ...(killConnection && stallConnection && { 'silent connections': silentConnections }),
      ...(killConnection && healConnection && { reconnecting }),
      ...(harness.loseAnswer && { 'lost answers': lostAnswers }),
      ...(harness.openConnections && { 'open connections': openConnections }),
      ...(harness.storeUnreadable && { 'unreadable jobs': unreadableJobs }),
    },
    (run) => turns.together(run),
  )
  define({ memory, ...(harness.restart && { restarts }) }, (run) => turns.alone(run))
}

async function onStage(harness: BrokerHarness, body: (stage: Stage) => Promise<void>): Promise<void> {
  const stage = await Stage.open(harness)
  try {
    await body(stage)
  } catch (error) {
    // Why the test failed says more than why it could not be tidied up.
    await stage.close().catch(() => undefined)
    throw error
  }
  await stage.close()
}
