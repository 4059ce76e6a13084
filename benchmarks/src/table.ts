import type { BrokerBench, CaseName, Goal } from './bench.ts'
import { format, type CaseOutcome, type Outcome } from './suite.ts'

/** The outcome as text: a line for each case and contestant, with ratios, followed by the goals. */
export function table(outcome: Outcome, goals: readonly Goal[]): string {
  const rows = outcome.cases.flatMap((each) => [...caseRows(each), []])
  const head = ['case', '', 'median', 'unit', 'per minute', 'ZyQueue is', 'CPU s/million (client, server)']
  return [
    `${outcome.broker} on Node ${outcome.node}, ${outcome.cpus} CPUs, ${outcome.date}`,
    '',
    ...align([head, ...rows]),
    ...goals.map((goal) => `${statusOf(goal, outcome)}  ${goal.text}`),
  ].join('\n')
}

function caseRows(each: CaseOutcome): string[][] {
  const { ours, peers, limits } = each
  const row = (name: string, value: number | null, first: boolean): string[] => [
    first ? each.name : '',
    name,
    value === null ? 'failed' : format(value),
    each.unit,
    each.unit === 'jobs/s' && value !== null ? `${format((value * 60) / 1e6)} M` : '',
    first || ours === null || value === null ? '' : compare(each, ours, value),
    cpuOf(each, name),
  ]
  return [
    row('zyqueue', ours, true),
    ...Object.entries(peers).map(([name, value]) => row(name, value, false)),
    ...Object.entries(limits).map(([name, value]) => row(`limit: ${name}`, value, false)),
  ]
}

function compare({ unit }: CaseOutcome, ours: number, theirs: number): string {
  if (unit === 'ratio') return ''
  const times = lessIsBetter(unit) ? theirs / ours : ours / theirs
  return `${times >= 10 ? times.toFixed(0) : times.toFixed(2)} x ${COMPARED[unit]}`
}

const COMPARED = { 'jobs/s': 'as fast', ms: 'as quick', 'bytes/job': 'as small' }

function lessIsBetter(unit: CaseOutcome['unit']): boolean {
  return unit === 'ms' || unit === 'bytes/job'
}

function cpuOf({ cpu }: CaseOutcome, name: string): string {
  const used = cpu[name.replace('limit: ', '')]
  return used === undefined ? '' : `${format(used.client)}, ${format(used.server)}`
}

function align(rows: readonly (readonly string[])[]): string[] {
  const widths = rows.reduce<number[]>(
    (all, row) => row.map((cell, column) => Math.max(cell.length, all[column] ?? 0)).concat(all.slice(row.length)),
    [],
  )
  return rows.map((row) =>
    row
      .map((cell, column) => cell.padEnd(widths[column] ?? 0))
      .join('  ')
      .trimEnd(),
  )
}

/** The goals that were missed. Goals whose case was not run are not among them. */
export function missed(outcome: Outcome, { targets }: Pick<BrokerBench, 'targets'>): readonly Goal[] {
  return targets.filter((goal) => statusOf(goal, outcome) === 'missed ')
}

function statusOf(goal: Goal, outcome: Outcome): 'reached' | 'missed ' | 'not run' {
  const each = find(outcome, goal.case)
  if (each === undefined) return 'not run'
  return each.ours !== null && goal.reached(each.ours, bestPeer(each), each) ? 'reached' : 'missed '
}

function find(outcome: Outcome, name: CaseName): CaseOutcome | undefined {
  return outcome.cases.find((each) => each.name === name)
}

function bestPeer({ peers, unit }: CaseOutcome): number | undefined {
  const values = Object.values(peers)
  if (values.length === 0) return undefined
  return lessIsBetter(unit) ? Math.min(...values) : Math.max(...values)
}
