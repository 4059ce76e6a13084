/**
 * The storage of published ids, so that a repeated publish does not store a job twice. Core creates ids in series: a prefix of
 * twenty characters, then a counter of eight digits in base 36. Such an id takes one bit in a bitmap of 32,768 bits. Any other id
 * has its own bitmap with one bit.
 */

/** Consecutive ids in one bitmap. */
export interface DedupeRun {
  /** The name of the bitmap. */
  readonly series: string
  /** The number of the first bit. */
  readonly first: number
  readonly count: number
  /** The bytes of the bitmap with these bits set, from the byte of the first bit on. */
  readonly bits: Buffer
}

const SERIES_ID = /^[0-9a-z]{28}$/
const PREFIX_LENGTH = 20
const BLOCK = 32_768

/** Groups ids into as few runs as possible, in the same order. */
export function dedupeRuns(ids: readonly string[]): readonly DedupeRun[] {
  const runs: DedupeRun[] = []
  for (let start = 0; start < ids.length;) {
    const id = ids[start] ?? ''
    const index = indexOf(id)
    const first = index === undefined ? 0 : index % BLOCK
    let count = 1
    if (index !== undefined) {
      const prefix = id.slice(0, PREFIX_LENGTH)
      while (first + count < BLOCK && ids[start + count] === prefix + digitsOf(index + count)) count++
    }
    const series = index === undefined ? id : id.slice(0, PREFIX_LENGTH) + Math.floor(index / BLOCK).toString(36)
    runs.push({ series, first, count, bits: bitsOf(first, count) })
    start += count
  }
  return runs
}

/** The position of an id in its series. Undefined if it does not belong to a series. */
function indexOf(id: string): number | undefined {
  return SERIES_ID.test(id) ? Number.parseInt(id.slice(PREFIX_LENGTH), 36) : undefined
}

function digitsOf(index: number): string {
  return index.toString(36).padStart(8, '0')
}

function bitsOf(first: number, count: number): Buffer {
  const from = Math.floor(first / 8)
  const bits = Buffer.alloc(Math.floor((first + count - 1) / 8) - from + 1)
  for (let bit = first - from * 8; bit < first - from * 8 + count; bit++) {
    bits[bit >> 3] = (bits[bit >> 3] ?? 0) | (128 >> (bit & 7))
  }
  return bits
}
