#!/usr/bin/env node
import { EXIT } from './exit-codes.ts'
import { main } from './main.ts'
import { whenPrinted } from './output.ts'

// What brokers hold does not keep a process alive; a command that waits for one has to.
setInterval(() => {}, 2 ** 31 - 1)

process.stdout.on('error', unwritten)
const exitCode = await main(process.argv.slice(2))
// A task file that was imported here may hold connections of its own open: the command ends nevertheless.
whenPrinted((error) => (error ? unwritten(error) : process.exit(exitCode)))

function unwritten(error: NodeJS.ErrnoException): void {
  // `zyqueue status | head` closes the pipe: the reader has ended, which is not an error.
  if (error.code === 'EPIPE') process.exit(EXIT.ok)
  process.stderr.write(`zyqueue: standard output cannot be written: ${error.message}\n`)
  process.exit(EXIT.failed)
}
