import { cpus } from 'node:os'
import type { BrokerBench, CaseName, Entry } from './bench.ts'
import { CASES, median, type Case, type Cpu, type Result, type Scale } from './cases.ts'

/** The document of `--json`. */
export interface Outcome {
  readonly broker: string
  readonly node: string
  readonly cpus: number
  readonly date: string
  readonly cases: readonly CaseOutcome[]
}

export interface CaseOutcome {
  readonly name: CaseName
  readonly unit: Case['unit']
  /** The median of the rounds; `null` if every round failed. */
  readonly ours: number | null
  readonly peers: Readonly<Record<string, number>>
  readonly limits: Readonly<Record<string, number>>
  /** CPU seconds per million jobs, by contestant. */
  readonly cpu: Readonly<Record<string, Cpu>>
}

/** Runs all cases. Contestants alternate (A B A B …), so that a busy minute of the machine affects all of them. */
export async function runSuite(
  bench: BrokerBench,
  options: { cases: readonly CaseName[]; scale: Scale; onNote: (line: string) => void },
): Promise<Outcome> {
  const { scale, onNote } = options
  const cases: CaseOutcome[] = []
  const selected = options.cases.filter((name) => !bench.without?.includes(name))
  for (const each of CASES.filter(({ name }) => selected.includes(name))) {
    const entries = bench.contestants.filter(({ without }) => !without?.includes(each.name))
    if (entries.length === 0) continue
    const results = new Map<Entry, Result[]>(entries.map((entry) => [entry, []]))
    // One round with two backlogs takes as long as all rounds of another case.
    const rounds = each.name === 'backlog' ? 1 : scale.rounds
    for (let round = 1; round <= rounds; round++)
      for (const [entry, list] of results) {
        try {
          const result = await each.measure(entry, bench, scale)
          list.push(result)
          onNote(`${each.name} ${round}/${rounds} ${entry.name}: ${format(result.value)} ${each.unit}`)
        } catch (error) {
          onNote(`${each.name} ${round}/${rounds} ${entry.name} failed: ${messageOf(error)}`)
        }
      }
    cases.push(summarize(each, results))
  }
  return {
    broker: bench.broker,
    node: process.version,
    cpus: cpus().length,
    date: new Date().toISOString(),
    cases,
  }
}

function summarize(each: Case, results: ReadonlyMap<Entry, readonly Result[]>): CaseOutcome {
  const measured = [...results].filter(([, list]) => list.length > 0)
  const medians = (kind: Entry['kind']): Record<string, number> =>
    Object.fromEntries(
      measured
        .filter(([entry]) => entry.kind === kind)
        .map(([entry, list]) => [entry.name, round(median(list.map(({ value }) => value)))]),
    )
  return {
    name: each.name,
    unit: each.unit,
    ours: Object.values(medians('ours'))[0] ?? null,
    peers: medians('peer'),
    limits: medians('limit'),
    cpu: Object.fromEntries(
      measured.flatMap(([entry, list]) => {
        const used = list.flatMap(({ cpu }) => (cpu ? [cpu] : []))
        if (used.length === 0) return []
        const client = round(median(used.map((cpu) => cpu.client)))
        const server = round(median(used.map((cpu) => cpu.server)))
        return [[entry.name, { client, server }] as const]
      }),
    ),
  }
}

/** Rounds to four digits; a benchmark is not more precise. */
function round(value: number): number {
  return Number(value.toPrecision(4))
}

export function format(value: number): string {
  return round(value).toLocaleString('en-US', { maximumFractionDigits: value < 100 ? 2 : 0 })
}

function messageOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error)
}
