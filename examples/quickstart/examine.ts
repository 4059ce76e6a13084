import { createHash } from 'node:crypto'
import { createReadStream } from 'node:fs'

/** The figures of `sha256sum` and `wc` for a file. */
export interface Figures {
  readonly sha256: string
  readonly lines: number
  readonly words: number
  readonly bytes: number
  /** True if the file is not UTF-8 text. Versions of `wc` count the words of such a file differently. */
  readonly binary: boolean
}

const LINE_FEED = 10
/** White space as GNU `wc` defines it in a UTF-8 locale: it includes no-break spaces. */
const SPACE = /[\t-\r \u00a0\u1680\u2000-\u200a\u202f\u205f\u2060\u3000]+/
/** A word contains a printable character: one that is not a control character, line separator, unassigned, or an invalid byte. */
const VISIBLE = /[^\p{Cc}\p{Cn}\p{Zl}\p{Zp}\ufffd]/u
const BINARY = /(?![\t-\r])[\p{Cc}\ufffd]/u

/** Reads a file of any size once and counts like `LC_ALL=C.UTF-8 wc`. Rejects with the error of the file system. */
export async function examine(path: string): Promise<Figures> {
  const hash = createHash('sha256')
  const decoder = new TextDecoder('utf-8', { ignoreBOM: true })
  let [lines, words, bytes, binary] = [0, 0, 0, false]
  let unfinished = ''

  function take(text: string): void {
    binary ||= BINARY.test(text)
    const runs = (unfinished + text).split(SPACE)
    const last = runs.pop() ?? ''
    for (const run of runs) if (VISIBLE.test(run)) words++
    // A chunk may end within a word, so remember whether the current run of characters is already a word.
    unfinished = VISIBLE.test(last) ? '-' : ''
  }

  const source: AsyncIterable<Buffer> = createReadStream(path)
  for await (const chunk of source) {
    hash.update(chunk)
    bytes += chunk.length
    for (let at = chunk.indexOf(LINE_FEED); at >= 0; at = chunk.indexOf(LINE_FEED, at + 1)) lines++
    take(decoder.decode(chunk, { stream: true }))
  }
  take(`${decoder.decode()}\n`)
  return { sha256: hash.digest('hex'), lines, words, bytes, binary }
}
