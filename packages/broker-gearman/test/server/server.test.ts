import { createRequire } from 'node:module'
import { brokerTests } from '@zyqueue/broker-test-kit'
import { afterAll, beforeAll, describe, expect, onTestFinished, test } from 'vitest'
import { startJobServer, type JobServer } from '../../src/server/index.ts'
import { brokerAt, proxied } from '../proxied.ts'
import { openBroker, queueName, storeWorkload } from '../support.ts'

describe('the job server of zyqueue gearmand', () => {
  let server: JobServer
  beforeAll(async () => {
    server = await startJobServer({ port: 0 })
  })
  const { close, ...brokers } = proxied(() => [server])
  afterAll(() => Promise.all([close(), server.close()]))
  brokerTests({
    test: test.concurrent,
    ...brokers,
    storeUnreadable: (queue) => storeWorkload(server.port, queue, '#zyq9 {"shape":"new"}\nbody'),
    sample: brokerAt([4730]),
    brokerWithFinding: brokers.createBroker,
    timeoutMs: 30_000,
  })

  test('it serves calls of other programs, with their progress', async () => {
    const abraxas = createRequire(import.meta.url)('abraxas')
    const peer = abraxas.Client.connect({ host: '127.0.0.1', port: server.port, defaultEncoding: 'utf8' })
    onTestFinished(() => peer.disconnect())
    const name = queueName()
    peer.registerWorker(name, (task: { payload: string; status(part: number): void }) => {
      task.status(0.5)
      return task.payload.toUpperCase()
    })
    const progress: number[] = []
    const call = peer.submitJob(name, 'text')
    call.on('status', (part: number) => progress.push(part))
    expect(await call).toBe('TEXT')
    expect(progress).toEqual([0.5])
  })

  test('the command shutdown ends it', async () => {
    const own = await startJobServer({ port: 0 })
    const broker = await openBroker(`127.0.0.1:${own.port}`)
    expect(await broker.admin.version()).toBe('gearmand 1.1.18-zyqueue')
    expect(await broker.admin.check()).toMatchObject([{ level: 'note' }])
    await broker.admin.shutdown?.()
    await own.ended
  })
})
