import type { Details } from '@zyqueue/core/broker'
import { clip } from './output.ts'

/** An ASCII table, as the Python original prints them. A cell that is undefined, a figure that the broker does not know, is `-`. */
export function table<Row>(
  rows: readonly Row[],
  columns: Readonly<Record<string, (row: Row) => string | number | undefined>>,
  fit?: Fit,
): string {
  const titles = Object.keys(columns)
  const all = rows.map((row) => Object.values(columns).map((cell) => oneLine(String(cell(row) ?? '-'))))
  const lines = fit === undefined ? all : fitted(titles, all, fit)
  const widths = titles.map((title, at) => Math.max(...[title, ...lines.map((line) => line[at] ?? '')].map(widthOf)))
  const rule = `+${widths.map((width) => '-'.repeat(width + 2)).join('+')}+`
  const draw = (cells: readonly string[]): string =>
    `|${cells.map((cell, at) => ` ${cell}${' '.repeat((widths[at] ?? 0) - widthOf(cell))} `).join('|')}|`
  return [rule, draw(titles), rule, ...lines.map(draw), ...(lines.length > 0 ? [rule] : [])].join('\n')
}

export interface Fit {
  /** The width of the table, in characters. */
  readonly width: number
  /** The columns that may be cut. */
  readonly cut: readonly string[]
}

/** A column is not cut to fewer characters. */
const MIN_CUT = 8

/** Cuts the widest of the columns that may be cut until the table has its width. */
function fitted(titles: readonly string[], lines: readonly (readonly string[])[], { width, cut }: Fit): string[][] {
  const widths = titles.map((title, at) => Math.max(...[title, ...lines.map((line) => line[at] ?? '')].map(widthOf)))
  const total = (): number => widths.reduce((sum, one) => sum + one + 3, 1)
  for (;;) {
    const widest = titles
      .map((title, at) => ({ at, width: cut.includes(title) ? (widths[at] ?? 0) : 0 }))
      .reduce((most, one) => (one.width > most.width ? one : most))
    if (total() <= width || widest.width <= MIN_CUT) break
    widths[widest.at] = Math.max(MIN_CUT, widest.width - (total() - width), Math.floor(widest.width / 2))
  }
  return lines.map((line) => line.map((cell, at) => clipWidth(cell, widths[at] ?? 0)))
}

/** Cuts the text to a width; the last character is then an ellipsis. */
function clipWidth(text: string, width: number): string {
  if (widthOf(text) <= width) return text
  let shown = ''
  let used = 1
  for (const { segment } of GRAPHEMES.segment(text)) {
    used += widthOf(segment)
    if (used > width) break
    shown += segment
  }
  return `${shown}…`
}

/** The width of the terminal, or 80 without one. */
export function terminalWidth(): number {
  return process.stdout.columns ?? 80
}

/** One column for each figure that only this broker knows. */
export function detailColumns<Row extends { readonly details?: Details }>(
  rows: readonly Row[],
): Readonly<Record<string, (row: Row) => string | number | undefined>> {
  const names = new Set(rows.flatMap(({ details }) => Object.keys(details ?? {})))
  return Object.fromEntries([...names].map((name) => [name, ({ details }: Row) => details?.[name]]))
}

/** Longer cells are not readable, and the time to split a text into graphemes grows with the square of its length. */
const MAX_CELL = 1_000

/** Other programs choose the names and data, so control characters must not break the table or control the terminal. */
function oneLine(text: string): string {
  return clip(text, MAX_CELL).replaceAll(/[\p{Cc}\p{Cf}]/gu, '·')
}

const GRAPHEMES = new Intl.Segmenter('en')
const WIDE = /\p{Emoji_Presentation}|\p{sc=Han}|\p{sc=Hiragana}|\p{sc=Katakana}|\p{sc=Hangul}|[\uFF01-\uFF60]/u

function widthOf(text: string): number {
  return [...GRAPHEMES.segment(text)].reduce((width, { segment }) => width + (WIDE.test(segment) ? 2 : 1), 0)
}
