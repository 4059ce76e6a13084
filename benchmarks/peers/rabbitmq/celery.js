// Celery 5.2, if Debian's python3-celery is installed: prefork workers with late acks and publisher confirms. Celery of Debian 12
// does not support quorum queues (it needs a global prefetch), so its queue is classic in both benchmarks.
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs'
import { createInterface } from 'node:readline'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { fileURLToPath } from 'node:url'

const PYTHON = '/usr/bin/python3'
const folder = fileURLToPath(new URL('.', import.meta.url))

/** @type {import('../../dist/contestant.js').Contestant} */
export const contestant = {
  async open(address) {
    const url = new URL(address)
    url.search = ''
    const env = { ...process.env, BENCH_BROKER: url.href, PYTHONPATH: folder, PYTHONDONTWRITEBYTECODE: '1' }
    // One producer process: each line of input is a command, and each line of output is its answer.
    const producer = spawn(PYTHON, [join(folder, 'celery_producer.py')], { env, stdio: ['pipe', 'pipe', 'inherit'] })
    const answers = createInterface({ input: producer.stdout })[Symbol.asyncIterator]()
    let before = Promise.resolve()
    const ask = (command) => {
      const answer = before.then(async () => {
        producer.stdin.write(`${command}\n`)
        const { value, done } = await answers.next()
        if (done || value.startsWith('error')) throw new Error(value ?? 'The Celery producer has ended.')
        return Number(value)
      })
      before = answer.catch(() => {})
      return answer
    }
    await ask('ready')

    return {
      submit: (payload) => ask(JSON.stringify([payload])),
      async submitMany(payloads) {
        let batch = []
        for (const payload of payloads) {
          if (batch.push(payload) < 100) continue
          await ask(JSON.stringify(batch))
          batch = []
        }
        if (batch.length > 0) await ask(JSON.stringify(batch))
      },
      work() {
        throw new Error('Celery cannot run jobs in this process.')
      },
      async startProcesses(count) {
        const tallies = mkdtempSync(join(tmpdir(), 'zyqueue-bench-'))
        const args = ['-m', 'celery', '-A', 'celery_tasks', 'worker', '--pool=prefork', `--concurrency=${count}`]
        const worker = spawn(
          PYTHON,
          [
            ...args,
            '--prefetch-multiplier=100',
            '--without-gossip',
            '--without-mingle',
            '--without-heartbeat',
            '-Ofair',
            '--loglevel=ERROR',
          ],
          {
            env: { ...env, BENCH_TALLIES: tallies, C_FORCE_ROOT: '1' },
            stdio: 'ignore',
          },
        )
        return {
          done: () => readTallies(tallies),
          async end() {
            // The workers write their tallies every 20 ms.
            await sleep(100)
            worker.kill('SIGTERM')
            await once(worker, 'exit')
            const done = readTallies(tallies)
            rmSync(tallies, { recursive: true })
            return done
          },
        }
      },
      waiting: () => ask('waiting'),
      close: async () => producer.kill(),
    }
  },
}

function readTallies(tallies) {
  return readdirSync(tallies)
    .filter((name) => name.endsWith('.json'))
    .map((name) => JSON.parse(readFileSync(join(tallies, name), 'utf8')))
    .reduce(
      (sum, one) => ({
        count: sum.count + one.count,
        startedAt: Math.min(sum.startedAt, one.startedAt),
        endedAt: Math.max(sum.endedAt, one.endedAt),
        samples: [],
      }),
      { count: 0, startedAt: Infinity, endedAt: 0, samples: [] },
    )
}
