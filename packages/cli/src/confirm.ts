import { createInterface } from 'node:readline'
import { EXIT } from './exit-codes.ts'
import { UsageError } from './usage-error.ts'

/**
 * Asks on a terminal before an operation that cannot be undone. Resolves to true if the command may go on; if not, the process ends with
 * 1, because the operation was not done. Throws if there is no terminal to ask on.
 */
export async function confirm(question: string, yes: boolean, what = 'this deletes jobs'): Promise<boolean> {
  if (yes) return true
  if (!process.stdin.isTTY) {
    throw new UsageError(`${what}, and there is no terminal to ask at`, 'Add --yes.')
  }
  if (/^y(es)?$/i.test((await ask(`${question} [y/N] `)).trim())) return true
  process.stderr.write('Nothing was done.\n')
  process.exitCode = EXIT.failed
  return false
}

/** Resolves to what was typed; to nothing where Ctrl+C or Ctrl+D ended it, of which `question` says nothing on Node 20.19. */
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
