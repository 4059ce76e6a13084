const write = process.stdout.write.bind(process.stdout)

/** One JSON document, or text for people, on standard output. */
export function print(json: boolean, document: unknown, text: () => string): void {
  write(`${json ? JSON.stringify(document, undefined, process.stdout.isTTY ? 2 : 0) : text()}\n`)
}

/** Calls back once standard output has taken all that was printed. */
export function whenPrinted(done: (error?: Error | null) => void): void {
  write('', done)
}

/** From now on standard output is for `print` alone: what the code of users writes there goes to standard error. */
export function keepStandardOutput(): void {
  process.stdout.write = process.stderr.write.bind(process.stderr)
}

/** A line for people, on standard error: programs find the same in the document. */
export function remark(json: boolean, text: string): void {
  if (!json) process.stderr.write(`zyqueue: ${text}\n`)
}

/** `1 job`, `2 jobs`. */
export function plural(number: number, noun: string): string {
  return `${number.toLocaleString('en')} ${noun}${number === 1 ? '' : 's'}`
}

/** At most this many characters. If the text is longer, the last character is an ellipsis. */
export function clip(text: string, length: number): string {
  return text.length > length ? `${text.slice(0, length - 1)}…` : text
}
