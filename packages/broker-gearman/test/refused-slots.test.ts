import type { TestServer } from '@zyqueue/test-servers'
import { describeWithServer } from '@zyqueue/test-servers/vitest'
import { expect, test } from 'vitest'
import { TextConnection } from '../src/connection/text-connection.ts'
import { delayedFunction, slotOf } from '../src/functions.ts'
import { consume, eventually, openBroker, ownServer, queueName, receive, storeWorkload, textOf } from './support.ts'

const HOUR_MS = 3_600_000
const never = new AbortController().signal

interface Scenario {
  readonly server: TestServer
  readonly queue: string
  /** Its time is over, so workers move the job to a narrower slot. */
  readonly wide: string
  readonly narrow: string
  readonly status: (functionName: string) => Promise<Status>
  readonly limit: (jobs: number) => Promise<void>
}

interface Status {
  readonly jobs: number
  readonly held: number
}

/** A server with a job that is due at `dueMs`, and that refuses it in the next narrower slot: that slot is full. */
async function openScenario(dueMs: number): Promise<Scenario> {
  const server = await ownServer()
  const queue = queueName()
  const wide = delayedFunction(queue, Date.now() - 1_000)
  const narrow = delayedFunction(queue, slotOf(dueMs, Date.now()))
  const command = async (text: string): Promise<readonly string[]> => {
    const connection = await TextConnection.open({ host: '127.0.0.1', port: server.port }, never)
    try {
      return text === 'status' ? await connection.list(text) : [await connection.command(text)]
    } finally {
      connection.close()
    }
  }
  const limit = async (jobs: number): Promise<void> => void (await command(`maxqueue ${narrow} ${jobs}`))
  await command(`create function ${narrow}`)
  await limit(1)
  await storeWorkload(server.port, narrow, 'fills the slot')
  await storeWorkload(server.port, wide, `#zyq1 ${JSON.stringify({ id: 'job', due: dueMs })}\njob`)
  const status = async (functionName: string): Promise<Status> => {
    const lines = (await command('status')).map((line) => line.split('\t'))
    const [, jobs = 0, held = 0] = lines.find(([name]) => name === functionName) ?? []
    return { jobs: Number(jobs), held: Number(held) }
  }
  return { server, queue, wide, narrow, status, limit }
}

await describeWithServer('gearmand', 'a server that refuses a narrower slot for a delayed job', () => {
  test('the job stays with the worker until it is due, and then runs once', async () => {
    const dueMs = Date.now() + 3_000
    const { server, queue, wide, narrow, status } = await openScenario(dueMs)
    const broker = await openBroker(server.url)
    const consumer = await consume(broker, queue)
    const received = receive(consumer, 2)
    await eventually(async () => (await status(wide)).held === 1)
    expect(await status(narrow)).toMatchObject({ jobs: 1 })
    const deliveries = await received
    expect(deliveries.map(textOf).toSorted()).toEqual(['fills the slot', 'job'])
    expect(Date.now()).toBeGreaterThanOrEqual(dueMs)
    expect(await consumer.ack(deliveries)).toEqual([{ status: 'ok' }, { status: 'ok' }])
    expect([await status(wide), await status(narrow)]).toMatchObject([{ jobs: 0 }, { jobs: 0 }])
  })

  test('the job returns to the server if the worker closes, and moves when the slot takes jobs again', async () => {
    const { server, queue, wide, narrow, status, limit } = await openScenario(Date.now() + HOUR_MS)
    const broker = await openBroker(server.url)
    const first = await consume(broker, queue)
    const nothing = first.receive(1, { signal: never })
    await eventually(async () => (await status(wide)).held === 1)
    await first.close()
    expect(await nothing).toEqual([])
    expect(await status(wide)).toEqual({ jobs: 1, held: 0 })
    const second = await consume(broker, queue)
    void second.receive(1, { signal: never })
    await eventually(async () => (await status(wide)).held === 1)
    expect(await status(narrow)).toMatchObject({ jobs: 1 })
    await limit(2)
    await eventually(async () => (await status(wide)).jobs === 0)
    expect(await status(narrow)).toEqual({ jobs: 2, held: 0 })
  })
})
