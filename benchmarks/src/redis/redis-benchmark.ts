/** The limit of the server with its C client: `redis-benchmark` with one job per push and a thousand pushes per pipeline. */
import { execFile } from 'node:child_process'
import { promisify } from 'node:util'
import { Redis } from 'ioredis'
import type { Contestant, Payload } from '../contestant.ts'

const KEY = 'bench'
/** The number of jobs of one run of the program. */
const RUN = 200_000
const PIPELINE = 1_000

export const contestant: Contestant = {
  async open(connection) {
    const { hostname, port } = new URL(connection)
    const redis = new Redis(connection)
    const push = async (jobs: number, data: string): Promise<void> => {
      const args = [
        '-h',
        hostname,
        '-p',
        port,
        '-c',
        '1',
        '-P',
        String(PIPELINE),
        '-n',
        String(jobs),
        '-q',
        'RPUSH',
        KEY,
        data,
      ]
      await promisify(execFile)('redis-benchmark', args)
    }
    return {
      submit: () => Promise.reject(new Error('redis-benchmark cannot submit single jobs.')),
      async submitMany(payloads) {
        let jobs = 0
        let last: Payload | undefined
        for (const payload of payloads) {
          last = payload
          if (++jobs < RUN) continue
          await push(jobs, JSON.stringify(last))
          jobs = 0
        }
        // The program pushes complete pipelines only.
        const rest = jobs % PIPELINE
        if (jobs > rest) await push(jobs - rest, JSON.stringify(last))
        if (rest > 0) await redis.rpush(KEY, ...Array.from({ length: rest }, () => JSON.stringify(last)))
      },
      work: () => Promise.reject(new Error('redis-benchmark cannot run jobs.')),
      waiting: () => redis.llen(KEY),
      close: () => redis.quit(),
    }
  },
}
