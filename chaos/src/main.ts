import { readFileSync, writeFileSync } from 'node:fs'
import { parseArgs } from 'node:util'
import { runCell, type Cell } from './cell.ts'
import { FAULTS, type Fault } from './faults.ts'
import { page } from './page.ts'
import { head, row } from './table.ts'
import type { TargetKind } from './target.ts'
import { TARGETS } from './targets/index.ts'

const PAGE = new URL('../../docs/chaos.md', import.meta.url)

const USAGE = `usage: pnpm chaos [broker] [--seed N] [--seconds S] [--fault F]... [--json] [--docs]
  broker     ${TARGETS.map(({ broker }) => broker).join(', ')}; all of them where left out
  --seed     of all that is chosen at random [default: the time]
  --seconds  how long each fault has its way [default: 10]
  --fault    only this one; ${FAULTS.map(({ name }) => name).join(', ')}
  --json     print one JSON document and nothing else on standard output
  --docs     write the results to docs/chaos.md, beside those of brokers that do not run now; \`pnpm format\` aligns its tables

Exits with 1 where a cell is not as it has to be.`

process.exitCode = await main()

async function main(): Promise<number> {
  const wanted = read()
  if (typeof wanted === 'string') {
    process.stderr.write(`chaos: ${wanted}\n\n${USAGE}\n`)
    return 2
  }
  const { kinds, faults, seed, seconds, json, docs } = wanted
  const show = (line: string): void => void (json ? process.stderr : process.stdout).write(`${line}\n`)
  show(`seed ${seed}`)
  show(head())
  const cells: Cell[] = []
  for (const kind of kinds) {
    for (const fault of faults.filter(({ fits }) => fits?.(kind) ?? true)) {
      const cell = await runCell(kind, fault, seed, seconds)
      cells.push(cell)
      show(row(cell))
      if (cell.said !== undefined) process.stderr.write(`${cell.said}\n`)
    }
  }
  if (docs) writeFileSync(PAGE, page(cells, seconds, readFileSync(PAGE, 'utf8')))
  if (json) process.stdout.write(`${JSON.stringify({ cells }, null, 2)}\n`)
  return cells.every(({ ok }) => ok) ? 0 : 1
}

interface Wanted {
  readonly kinds: readonly TargetKind[]
  readonly faults: readonly Fault[]
  readonly seed: number
  readonly seconds: number
  readonly json: boolean
  readonly docs: boolean
}

/** What the command line asks for, or why that cannot be. */
function read(): Wanted | string {
  try {
    const { values, positionals } = parseArgs({
      allowPositionals: true,
      options: {
        seed: { type: 'string', default: String(Date.now() % 1_000_000) },
        seconds: { type: 'string', default: '10' },
        fault: { type: 'string', multiple: true },
        json: { type: 'boolean', default: false },
        docs: { type: 'boolean', default: false },
      },
    })
    const { fault: named = [], json, docs } = values
    const [seed, seconds] = [Number(values.seed), Number(values.seconds)]
    const strangeBroker = positionals.find((name) => TARGETS.every(({ broker }) => broker !== name))
    if (strangeBroker !== undefined) return `there is no broker ${strangeBroker}`
    const strangeFault = named.find((name) => FAULTS.every((fault) => fault.name !== name))
    if (strangeFault !== undefined) return `there is no fault ${strangeFault}`
    if (docs && named.length > 0)
      return '--docs with --fault: a page with some of the faults would look like one with all'
    if (!/^\d+$/.test(values.seed)) return `--seed: ${values.seed} is not a whole number`
    if (!(seconds > 0 && seconds <= 600)) return `--seconds: ${values.seconds} is not above 0 and at most 600`
    const kinds = TARGETS.filter(({ broker }) => positionals.length === 0 || positionals.includes(broker))
    const faults = FAULTS.filter(({ name }) => named.length === 0 || named.includes(name))
    return { kinds, faults, seed, seconds, json, docs }
  } catch (error) {
    return error instanceof Error ? error.message : String(error)
  }
}
