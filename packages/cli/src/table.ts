import type { Details } from '@zyqueue/core/broker'
import { clip } from './output.ts'

/** An ASCII table, as the Python original prints them. A cell that is undefined, a figure that the broker does not know, is `-`. */
export function table<Row>(
  rows: readonly Row[],
  columns: Readonly<Record<string, (row: Row) => string | number | undefined>>,
): string {
  const titles = Object.keys(columns)
  const lines = rows.map((row) => Object.values(columns).map((cell) => oneLine(String(cell(row) ?? '-'))))
  const widths = titles.map((title, at) => Math.max(...[title, ...lines.map((line) => line[at] ?? '')].map(widthOf)))
  const rule = `+${widths.map((width) => '-'.repeat(width + 2)).join('+')}+`
  const draw = (cells: readonly string[]): string =>
    `|${cells.map((cell, at) => ` ${cell}${' '.repeat((widths[at] ?? 0) - widthOf(cell))} `).join('|')}|`
  return [rule, draw(titles), rule, ...lines.map(draw), ...(lines.length > 0 ? [rule] : [])].join('\n')
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
