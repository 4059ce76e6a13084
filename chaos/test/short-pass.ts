import { describe, expect, test } from 'vitest'
import { runScenario } from '../dist/run.js'
import { FAULTS } from '../dist/faults.js'
import { head, row } from '../dist/table.js'
import { TARGETS } from '../dist/targets/index.js'

/** The duration of each fault. `pnpm chaos` uses a longer one. */
const SECONDS = 1.5
/** Longer than all waits of a run together. Each wait has its own timeout and names what it waited for. */
const TIMEOUT_MS = 1_200_000
/** Runs may be concurrent, because they mostly wait for leases, backoffs and starts. */
const PARALLEL_RUNS = 3

/** Registers a short run of every fault of a broker. The names of the tests contain the seed. */
export function shortPass(broker: string): void {
  const seed = Number(process.env['ZYQUEUE_CHAOS_SEED'] ?? Date.now() % 1_000_000)
  const kind = TARGETS.find((target) => target.broker === broker)
  if (kind === undefined) throw new Error(`There is no target for the broker ${broker}: add it to chaos/src/targets.`)
  const faults = FAULTS.filter(({ fits }) => fits?.(kind) ?? true)
  describe.each(Array.from({ length: PARALLEL_RUNS }, (_, group) => group))(
    `${broker} %s, seed ${seed}`,
    { concurrent: true },
    (group) => {
      test.sequential.each(faults.filter((_, index) => index % PARALLEL_RUNS === group))(
        '$name',
        { timeout: TIMEOUT_MS },
        async (fault) => {
          const result = await runScenario(kind, fault, seed, SECONDS)
          expect(result.ok, `${head()}\n${row(result)}\n${result.output}`).toBe(true)
          expect(result.acknowledged).toBeGreaterThan(0)
        },
      )
    },
  )
}
