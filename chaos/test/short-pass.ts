import { describe, expect, test } from 'vitest'
import { runCell } from '../dist/cell.js'
import { FAULTS } from '../dist/faults.js'
import { head, row } from '../dist/table.js'
import { TARGETS } from '../dist/targets/index.js'

/** How long each fault has its way here; `pnpm chaos` gives it more. */
const SECONDS = 1.5
/** Beyond all that a cell waits for: its waits have bounds of their own, and say what they were for. */
const TIMEOUT_MS = 1_200_000
/** Cells mostly wait, for leases, backoffs and starts. */
const AT_ONCE = 3

/** Registers a short pass of every cell of a broker, with a seed that a failure names. */
export function shortPass(broker: string): void {
  const seed = Number(process.env['ZYQUEUE_CHAOS_SEED'] ?? Date.now() % 1_000_000)
  const kind = TARGETS.find((target) => target.broker === broker)
  if (kind === undefined) throw new Error(`there is no target ${broker}`)
  const faults = FAULTS.filter(({ fits }) => fits?.(kind) ?? true)
  describe.each(Array.from({ length: AT_ONCE }, (_, lane) => lane))(
    `${broker} %s, seed ${seed}`,
    { concurrent: true },
    (lane) => {
      test.sequential.each(faults.filter((_, index) => index % AT_ONCE === lane))(
        '$name',
        { timeout: TIMEOUT_MS },
        async (fault) => {
          const cell = await runCell(kind, fault, seed, SECONDS)
          expect(cell.ok, `${head()}\n${row(cell)}\n${cell.said}`).toBe(true)
          expect(cell.acknowledged).toBeGreaterThan(0)
        },
      )
    },
  )
}
