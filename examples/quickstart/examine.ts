import { createHash } from 'node:crypto'
import { createReadStream } from 'node:fs'

/** What `sha256sum` and `wc` say of a file. */
export interface Figures {
  readonly sha256: string
  readonly lines: number
  readonly words: number
  readonly bytes: number
  /** Not UTF-8 text. Versions of `wc` differ in what a word is there. */
  readonly binary: boolean
}

const LINE_FEED = 10
/** What GNU `wc` takes for white space in a UTF-8 locale: no-break spaces too. */
const SPACE = /[\t-\r \u00a0\u1680\u2000-\u200a\u202f\u205f\u2060\u3000]+/
/** A word has something to see in it: not only control or line-separating characters, unassigned ones, or bytes that are no characters. */
const VISIBLE = /[^\p{Cc}\p{Cn}\p{Zl}\p{Zp}\ufffd]/u
const BINARY = /(?![\t-\r])[\p{Cc}\ufffd]/u

/** Reads a file of any size once, and counts as `LC_ALL=C.UTF-8 wc` does. Rejects with the error of the file system. */
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
    // Whether the run that goes on has been a word so far is all that need be kept of it.
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
