import type { RunResult } from './run.ts'

const COLUMNS: readonly (readonly [
  title: string,
  width: number,
  value: (result: RunResult) => string | number | undefined,
])[] = [
  ['broker', 9, ({ broker }) => broker],
  ['fault', 20, ({ fault }) => fault],
  ['', 7, ({ ok }) => (ok ? 'ok' : 'BROKEN')],
  ['submitted', 9, ({ attempted }) => attempted],
  ['stored', 7, ({ acknowledged }) => acknowledged],
  ['lost', 5, ({ lost }) => lost],
  ['unexpected', 10, ({ unexpected }) => unexpected],
  ['twice', 6, ({ duplicated }) => duplicated],
  ['recovered', 9, ({ recovered }) => recovered],
  ['stale', 6, ({ staleAccepted }) => staleAccepted],
  ['unsettled', 9, ({ unsettled }) => unsettled],
  ['recovery ms', 11, ({ recoverMs }) => recoverMs],
]

export function head(): string {
  return COLUMNS.map(([title, width]) => title.padEnd(width))
    .join(' ')
    .trimEnd()
}

export function row(result: RunResult): string {
  const rest = (
    ['overlapping', 'overAttempted', 'wrongDeadLetters', 'missingDeadLetters', 'corrupted', 'waiting'] as const
  )
    .filter((figure) => result[figure] > 0)
    .map((figure) => `${figure} ${result[figure]}`)
  const cells = COLUMNS.map(([, width, value]) => String(value(result) ?? '-').padEnd(width))
  return [...cells, ...rest].join(' ').trimEnd()
}
