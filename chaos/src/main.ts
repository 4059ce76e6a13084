import { readFileSync, writeFileSync } from 'node:fs'
import { parseArgs } from 'node:util'
import { runScenario, type RunResult } from './run.ts'
import { FAULTS, type Fault } from './faults.ts'
import { page } from './page.ts'
import { head, row } from './table.ts'
import type { TargetKind } from './target.ts'
import { TARGETS } from './targets/index.ts'

const PAGE = new URL('../../docs/chaos.md', import.meta.url)

const USAGE = `usage: pnpm chaos [broker] [--seed N] [--seconds S] [--fault F]... [--json] [--docs]
  broker     ${TARGETS.map(({ broker }) => broker).join(', ')} [default: all of them]
  --seed     seed of all random choices [default: from the time]
  --seconds  duration of each fault [default: 10]
  --fault    run only this fault: ${FAULTS.map(({ name }) => name).join(', ')}
  --json     print only one JSON document on standard output
  --docs     write the results to docs/chaos.md and keep those of brokers that do not run; \`pnpm format\` aligns its tables

Exits with 1 if a run has violated a guarantee.`

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
  const results: RunResult[] = []
  for (const kind of kinds) {
    for (const fault of faults.filter(({ fits }) => fits?.(kind) ?? true)) {
      const result = await runScenario(kind, fault, seed, seconds)
      results.push(result)
      show(row(result))
      if (result.output !== undefined) process.stderr.write(`${result.output}\n`)
    }
  }
  if (docs) writeFileSync(PAGE, page(results, seconds, readFileSync(PAGE, 'utf8')))
  if (json) process.stdout.write(`${JSON.stringify({ runs: results }, null, 2)}\n`)
  return results.every(({ ok }) => ok) ? 0 : 1
}

interface Wanted {
  readonly kinds: readonly TargetKind[]
  readonly faults: readonly Fault[]
  readonly seed: number
  readonly seconds: number
  readonly json: boolean
  readonly docs: boolean
}

/** The options of the command line, or an error message. */
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
    const unknownBroker = positionals.find((name) => TARGETS.every(({ broker }) => broker !== name))
    if (unknownBroker !== undefined) return `unknown broker ${unknownBroker}`
    const unknownFault = named.find((name) => FAULTS.every((fault) => fault.name !== name))
    if (unknownFault !== undefined) return `unknown fault ${unknownFault}`
    if (docs && named.length > 0) return '--docs cannot be combined with --fault, because the page lists all faults'
    if (!/^\d+$/.test(values.seed)) return `--seed must be a whole number, not ${values.seed}`
    if (!(seconds > 0 && seconds <= 600)) return `--seconds must be above 0 and at most 600, not ${values.seconds}`
    const kinds = TARGETS.filter(({ broker }) => positionals.length === 0 || positionals.includes(broker))
    const faults = FAULTS.filter(({ name }) => named.length === 0 || named.includes(name))
    return { kinds, faults, seed, seconds, json, docs }
  } catch (error) {
    return error instanceof Error ? error.message : String(error)
  }
}
