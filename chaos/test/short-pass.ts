import { describe, expect, test } from 'vitest'
import { runScenario } from '../dist/run.js'
import { FAULTS } from '../dist/faults.js'
import { head, row } from '../dist/table.js'
import { TARGETS } from '../dist/targets/index.js'

/** How long each fault has its way here; `pnpm chaos` gives it more. */
const SECONDS = 1.5
/** Beyond all that a cell waits for: its waits have bounds of their own, and say what they were for. */
const TIMEOUT_MS = 1_200_000
/** Cells mostly wait, for leases, backoffs and starts. */
const PARALLEL_RUNS = 3

/** Registers a short pass of every cell of a broker, with a seed that a failure names. */
export function shortPass(broker: string): void {
  const seed = Number(process.env['ZYQUEUE_CHAOS_SEED'] ?? Date.now() % 1_000_000)
  const kind = TARGETS.find((target) => target.broker === broker)
  if (kind === undefined) throw new Error(`there is no target ${broker}`)
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
