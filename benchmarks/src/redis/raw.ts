/**
 * The limit: the driver of ZyQueue's adapter with the minimal work of a queue. It pushes and pops as many jobs at once as the
 * adapter does in one script. No ids, headers, leases, delays, priorities or acks: popped jobs are lost if the process dies.
 */
import { setImmediate } from 'node:timers/promises'
import { Redis } from 'ioredis'
import type { Contestant, Payload, Session } from '../contestant.ts'

const KEY = 'bench'
const BATCH = 1_000
/** The most pending pushes. */
const IN_FLIGHT = 4
const POP = 500

export const contestant: Contestant = {
  async open(connection) {
    const redis = new Redis(connection)
    await redis.ping()
    return session(redis)
  },
}

function session(redis: Redis): Session {
  let gathered: string[] = []
  let pushed: Promise<unknown> | undefined

  /** Submits of one turn of the event loop are one push. */
  async function push(): Promise<void> {
    await setImmediate()
    const jobs = gathered
    gathered = []
    pushed = undefined
    await redis.rpush(KEY, ...jobs)
  }

  return {
    submit(data) {
      gathered.push(JSON.stringify(data))
      return (pushed ??= push())
    },
    async submitMany(payloads) {
      const pending: Promise<unknown>[] = []
      let batch: string[] = []
      for (const data of payloads) {
        if (batch.push(JSON.stringify(data)) < BATCH) continue
        if (pending.length >= IN_FLIGHT) await pending.shift()
        pending.push(redis.rpush(KEY, ...batch))
        batch = []
      }
      if (batch.length > 0) pending.push(redis.rpush(KEY, ...batch))
      await Promise.all(pending)
    },
    async work(handle) {
      let working = true
      const loop = async (): Promise<void> => {
        while (working) {
          const [, jobs = []] = (await redis.lmpop(1, KEY, 'LEFT', 'COUNT', POP)) ?? []
          for (const job of jobs) await handle(JSON.parse(job) as Payload)
          if (jobs.length === 0) await setImmediate()
        }
      }
      // One pop is pending while the jobs of the other are handled.
      const ended = Promise.all([loop(), loop()])
      return () => {
        working = false
        return ended
      }
    },
    waiting: () => redis.llen(KEY),
    close: () => redis.quit(),
  }
}
