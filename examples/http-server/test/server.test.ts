import { execFile, spawn } from 'node:child_process'
import { once } from 'node:events'
import { mkdtempSync, readFileSync, rmSync } from 'node:fs'
import { createRequire } from 'node:module'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { createInterface } from 'node:readline'
import { fileURLToPath } from 'node:url'
import { promisify } from 'node:util'
import { expect, test } from 'vitest'

const here = fileURLToPath(new URL('..', import.meta.url))
const zyqueue = join(createRequire(import.meta.url).resolve('@zyqueue/cli/package.json'), '../dist/bin.js')

test('a worker runs the jobs of accepted requests, and invalid requests are refused', async () => {
  const folder = mkdtempSync(join(tmpdir(), 'zyqueue-http-server-'))
  const outbox = join(folder, 'outbox.ndjson')
  const env = { ...process.env, PORT: '0', OUTBOX: outbox, ZYQUEUE_CONNECTION: `sqlite:${join(folder, 'queue.db')}` }
  const server = spawn(process.execPath, [join(here, 'dist/server.js')], { env, stdio: ['ignore', 'pipe', 'inherit'] })
  try {
    const [line] = await once(createInterface(server.stdout), 'line')
    const url = `http://127.0.0.1:${/port (\d+)/.exec(String(line))?.[1]}/users`
    const post = (body: string) => fetch(url, { method: 'POST', body })

    const accepted = await post('{ "to": "ada@example.org", "name": "Ada" }')
    expect(accepted.status).toBe(202)
    const { job }: { job?: unknown } = Object(await accepted.json())
    for (const body of ['{ "to": "nowhere", "name": "Ada" }', '{ "to": "a@example.org" }', 'no JSON', '']) {
      expect((await post(body)).status).toBe(400)
    }
    expect((await fetch(url)).status).toBe(404)

    await promisify(execFile)(process.execPath, [zyqueue, 'work', '-f', join(here, 'tasks.ts'), '-w', '1', '--burst'], {
      env,
    })
    const mails = readFileSync(outbox, 'utf8').trim().split('\n')
    expect(mails.map((mail): unknown => JSON.parse(mail))).toEqual([
      { job, to: 'ada@example.org', text: 'Welcome, Ada' },
    ])
  } finally {
    const ended = once(server, 'exit')
    server.kill('SIGTERM')
    expect(await ended).toEqual([0, null])
    rmSync(folder, { recursive: true, force: true })
  }
})
