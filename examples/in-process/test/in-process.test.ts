import { spawn, type ChildProcess } from 'node:child_process'
import { once } from 'node:events'
import { existsSync, mkdtempSync, readFileSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { afterEach, beforeEach, expect, test, vi } from 'vitest'
import { openBroker, setResolution } from '@zyqueue/core'
import { every } from '../dist/schedule.js'

const main = fileURLToPath(new URL('../dist/main.js', import.meta.url))

// Independent of the folder in which the test runner was started.
setResolution({ resolveFrom: [import.meta.dirname], baseDir: import.meta.dirname })

let folder: string
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'zyqueue-in-process-'))
})
afterEach(() => rmSync(folder, { recursive: true, force: true }))

/** Starts the example and collects its log. */
function start(workMs: number): { readonly child: ChildProcess; readonly log: () => string } {
  const env = {
    ...process.env,
    EVERY_MS: '100',
    WORK_MS: String(workMs),
    REPORTS: join(folder, 'reports.ndjson'),
    ZYQUEUE_CONNECTION: connection(),
  }
  let log = ''
  const child = spawn(process.execPath, [main], { env, stdio: ['ignore', 'ignore', 'pipe'] })
  child.stderr.on('data', (chunk) => (log += String(chunk)))
  return { child, log: () => log }
}

function connection(): string {
  return `sqlite:${join(folder, 'queue.db')}`
}

function reports(): readonly { readonly dueAtMs: number }[] {
  const path = join(folder, 'reports.ndjson')
  const lines = existsSync(path) ? readFileSync(path, 'utf8').trim().split('\n') : []
  return lines.map((line) => JSON.parse(line))
}

async function counts(): Promise<{ readonly waiting: number; readonly active: number }> {
  const broker = await openBroker({ connection: connection() })
  const [queue] = await broker.admin.queues()
  await broker.close()
  return { waiting: queue?.ready ?? 0, active: queue?.active ?? 0 }
}

test('the timer submits reports, and SIGTERM lets the running ones finish', async () => {
  const { child, log } = start(300)
  await vi.waitFor(() => expect(reports().length).toBeGreaterThan(2), { timeout: 60_000, interval: 20 })
  await vi.waitFor(() => expect(started(log())).toBeGreaterThan(reports().length), { timeout: 60_000, interval: 5 })
  const ended = once(child, 'exit')
  child.kill('SIGTERM')
  expect(await ended).toEqual([0, null])
  expect(reports().length).toBe(started(log()))
  expect((await counts()).active).toBe(0)
  for (const { dueAtMs } of reports()) expect(dueAtMs % 100).toBe(0)
})

test('the second signal gives the running jobs back', async () => {
  const { child, log } = start(600_000)
  await vi.waitFor(() => expect(started(log())).toBeGreaterThan(0), { timeout: 60_000, interval: 20 })
  const ended = once(child, 'exit')
  child.kill('SIGTERM')
  await vi.waitFor(() => expect(log()).toContain('finishing'), { timeout: 60_000, interval: 20 })
  child.kill('SIGTERM')
  await vi.waitFor(async () => expect(await counts()).toMatchObject({ active: 0 }), { timeout: 60_000, interval: 50 })
  expect((await counts()).waiting).toBeGreaterThan(0)
  // The handlers ignore their signal and would run for ten minutes.
  child.kill('SIGKILL')
  await ended
})

test('a schedule skips missed times, and stops', async () => {
  const due: number[] = []
  const schedule = every(20, async (atMs) => {
    due.push(atMs)
    await new Promise((resolve) => setTimeout(resolve, 50))
  })
  await vi.waitFor(() => expect(due.length).toBeGreaterThan(2), { timeout: 60_000 })
  await schedule.stop()
  const count = due.length
  expect(new Set(due).size).toBe(count)
  await new Promise((resolve) => setTimeout(resolve, 60))
  expect(due.length).toBe(count)
})

function started(log: string): number {
  return log.match(/reporting/g)?.length ?? 0
}
