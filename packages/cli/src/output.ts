const write = process.stdout.write.bind(process.stdout)

/** Prints one JSON document, or text for people, to standard output. */
export function print(json: boolean, document: unknown, text: () => string): void {
  write(`${json ? JSON.stringify(document, undefined, process.stdout.isTTY ? 2 : 0) : text()}\n`)
}

/** Calls back after everything printed so far has been written. */
export function whenPrinted(done: (error?: Error | null) => void): void {
  write('', done)
}

/** From now on only `print` writes to standard output. What the user's code writes there goes to standard error. */
export function reserveStandardOutput(): void {
  process.stdout.write = process.stderr.write.bind(process.stderr)
}

/** Prints a line for people to standard error; with `--json` nothing, because the document contains the same facts. */
export function printNote(json: boolean, text: string): void {
  if (!json) process.stderr.write(`zyqueue: ${text}\n`)
}

/** Prints a warning to standard error; with `--json` as one line `{"warning":{message}}`. */
export function printWarning(json: boolean, message: string): void {
  process.stderr.write(json ? `${JSON.stringify({ warning: { message } })}\n` : `zyqueue: warning: ${message}\n`)
}

/** `1 job`, `2 jobs`. */
export function plural(number: number, noun: string): string {
  return `${number.toLocaleString('en')} ${noun}${number === 1 ? '' : 's'}`
}

/** Cuts the text to at most `length` characters; the last is then an ellipsis. */
export function clip(text: string, length: number): string {
  return text.length > length ? `${text.slice(0, length - 1)}…` : text
}
