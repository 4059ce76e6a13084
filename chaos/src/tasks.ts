/** The task file of the workers: records each run of a handler, and does what the job says. */
import { setTimeout as sleep } from 'node:timers/promises'
import { now, recordTo } from '@zyqueue/broker-test-kit'
import { queueJob } from '@zyqueue/core'
import { crashIf, disarm } from './crash-point.ts'
import { FOLDER, HARD_TIMEOUT_MS, hashOf, MAX_ATTEMPTS, MAX_DELIVERIES, payload, TASK } from './load.ts'

const folder = process.env[FOLDER] ?? '.'
const record = recordTo(folder)
const HOUR_MS = 3_600_000

queueJob(
  {
    name: process.env[TASK] ?? 'chaos',
    data: payload,
    retries: { limit: MAX_ATTEMPTS - 1, minDelayMs: 20, maxDelayMs: 200 },
    maxDeliveries: MAX_DELIVERIES,
    hardTimeoutMs: HARD_TIMEOUT_MS,
  },
  async function run(_worker, { id, attempt, data }) {
    const { job, ms, fails, poison } = data
    const about = { job, id, pid: process.pid }
    record({ type: 'began', ...about, hash: hashOf(data), attempt, at: now() })
    if (disarm(folder, 'jump')) jump()
    if (poison !== undefined) die(poison)
    await sleep(ms)
    const ok = attempt > fails
    record({ type: 'ended', ...about, ok, at: now() })
    crashIf(folder, 'effect', record)
    if (!ok) throw new Error(`attempt ${attempt} of ${fails} that must fail`)
  },
)

/** Moves the clock of this process one hour ahead. */
function jump(): void {
  const real = Date.now.bind(Date)
  Date.now = () => real() + HOUR_MS
}

function die(how: 'exit' | 'memory' | 'spin'): void {
  if (how === 'exit') process.exit(3)
  const hoard: unknown[] = []
  for (;;) if (how === 'memory') hoard.push(Array.from({ length: 10_000 }, (_, index) => ({ index })))
}
