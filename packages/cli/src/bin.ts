#!/usr/bin/env node
import { listenForSignals } from './signals.ts'

// Everything else takes longer to load.
listenForSignals()
const { EXIT } = await import('./exit-codes.ts')
const { main } = await import('./main.ts')
const { whenPrinted } = await import('./output.ts')

// A broker's connection does not keep the process alive, but a command that waits for the broker must go on.
setInterval(() => {}, 2 ** 31 - 1)

process.stdout.on('error', onWriteError)
const exitCode = await main(process.argv.slice(2))
// A task file that was imported here may hold connections open. The command ends nevertheless.
whenPrinted((error) => (error ? onWriteError(error) : process.exit(exitCode)))

function onWriteError(error: NodeJS.ErrnoException): void {
  // `zyqueue status | head` closes the pipe when `head` has read enough. That is no failure.
  if (error.code === 'EPIPE') process.exit(EXIT.ok)
  process.stderr.write(`zyqueue: cannot write to standard output: ${error.message}\n`)
  process.exit(EXIT.failed)
}
