import { createInterface } from 'node:readline'
import { EXIT } from './exit-codes.ts'
import { UsageError } from './usage-error.ts'

/**
 * Asks on the terminal before a command does what cannot be undone. Resolves to true if the answer is yes; else the process
 * will end with 1. Throws `UsageError` if standard input is not a terminal.
 */
export async function confirm(question: string, yes: boolean, what = 'this command deletes jobs'): Promise<boolean> {
  if (yes) return true
  if (!process.stdin.isTTY) {
    throw new UsageError(`${what}, and standard input is no terminal on which to confirm it`, 'Add --yes.')
  }
  if (/^y(es)?$/i.test((await ask(`${question} [y/N] `)).trim())) return true
  process.stderr.write('Cancelled; nothing was changed.\n')
  process.exitCode = EXIT.failed
  return false
}

/** Resolves to the typed answer, or to '' after Ctrl+C or Ctrl+D. On Node 20.19 `question` does not report those. */
function ask(question: string): Promise<string> {
  const terminal = createInterface({ input: process.stdin, output: process.stderr })
  return new Promise((resolve) => {
    let answer: string | undefined
    terminal.once('close', () => {
      if (answer === undefined) process.stderr.write('\n')
      resolve(answer ?? '')
    })
    terminal.question(question, (typed) => {
      answer = typed
      terminal.close()
    })
  })
}
