import type { Cell } from './cell.ts'

const COLUMNS: readonly (readonly [
  title: string,
  width: number,
  value: (cell: Cell) => string | number | undefined,
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

export function row(cell: Cell): string {
  const rest = (
    ['overlapping', 'overAttempted', 'wrongDeadLetters', 'missingDeadLetters', 'corrupted', 'waiting'] as const
  )
    .filter((figure) => cell[figure] > 0)
    .map((figure) => `${figure} ${cell[figure]}`)
  const cells = COLUMNS.map(([, width, value]) => String(value(cell) ?? '-').padEnd(width))
  return [...cells, ...rest].join(' ').trimEnd()
}
