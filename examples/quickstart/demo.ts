/**
 * Runs the whole example with a queue in a temporary folder: starts workers, submits a job for each file, shows the
 * progress, and adds up the results. Usage: `pnpm demo [folder]`; the default folder is this repository.
 */
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { mkdirSync, mkdtempSync, rmSync, statSync } from 'node:fs'
import { createRequire } from 'node:module'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { fileURLToPath } from 'node:url'
import { openBroker } from '@zyqueue/core'
import { listFiles } from './files.ts'
import { Progress } from './progress.ts'
import { createResultCounter } from './results.ts'
import { summarize } from './summary.ts'

const WORKERS = 4
const POLL_MS = 50

const folder = process.argv[2] ?? fileURLToPath(new URL('../../..', import.meta.url))
/** This file runs as `dist/demo.js`. The workers get the source of the task file. */
const taskFile = fileURLToPath(new URL('../tasks.ts', import.meta.url))
const zyqueue = join(createRequire(import.meta.url).resolve('@zyqueue/cli/package.json'), '../dist/bin.js')

const scratch = mkdtempSync(join(tmpdir(), 'zyqueue-quickstart-'))
process.env['ZYQUEUE_CONNECTION'] = `sqlite:${join(scratch, 'queue.db')}`
process.env['RESULTS'] = join(scratch, 'results')
mkdirSync(join(scratch, 'results'))
try {
  process.exitCode = await demo()
} finally {
  rmSync(scratch, { recursive: true, force: true })
}

async function demo(): Promise<number> {
  if (statSync(folder, { throwIfNoEntry: false })?.isDirectory() !== true) {
    console.error(`The folder ${folder} does not exist`)
    return 2
  }
  const listing = listFiles(folder)
  const total = listing.files.length
  console.log(
    `ZyQueue quickstart: ${total.toLocaleString('en')} files of ${listing.folder}, ${WORKERS} worker processes\n`,
  )
  if (total === 0) return 1

  const broker = await openBroker({})
  const count = ['--max-workers', `${WORKERS}`, '--concurrency', '2', '--prefetch', '8']
  const workers = start(zyqueue, 'work', '--task-file', taskFile, ...count, '--log-level', 'warn')
  // Otherwise the first worker that starts would run all of these short jobs.
  while (((await broker.admin.workers?.())?.length ?? WORKERS) < WORKERS) {
    if (workers.hasEnded()) return 1
    await sleep(POLL_MS)
  }

  if ((await start(script('submit.js'), listing.folder).ended) !== 0) return 1
  const progress = new Progress(total)
  const results = createResultCounter()
  while (!workers.hasEnded() && (await unfinished(broker)) > 0) {
    progress.update(results())
    await sleep(POLL_MS)
  }
  progress.update(results())
  progress.end()
  workers.stop()
  const code = await workers.ended
  await broker.close()
  console.log()
  return summarize(listing) && code === 0 ? 0 : 1
}

async function unfinished(broker: Awaited<ReturnType<typeof openBroker>>): Promise<number> {
  const queues = await broker.admin.queues()
  return queues.reduce((sum, { ready = 0, delayed = 0, active = 0 }) => sum + ready + delayed + active, 0)
}

function script(name: string): string {
  return fileURLToPath(new URL(name, import.meta.url))
}

interface Started {
  readonly ended: Promise<number>
  hasEnded(): boolean
  stop(): void
}

function start(file: string, ...args: readonly string[]): Started {
  const child = spawn(process.execPath, [file, ...args], { stdio: ['ignore', 'inherit', 'inherit'] })
  const stop = (): void => void child.kill('SIGTERM')
  // The terminal sends Ctrl+C to the child too. Here it remains to wait for its end and to clean up.
  const wait = (): void => {}
  process.on('SIGTERM', stop).on('SIGINT', wait)
  const ended = once(child, 'exit').then(([code]) => {
    process.off('SIGTERM', stop).off('SIGINT', wait)
    return code === null ? 1 : Number(code)
  })
  return { ended, stop, hasEnded: () => child.exitCode !== null || child.signalCode !== null }
}
