// rabbitmq-client 5.0.8: a client without dependencies, with fast settings: confirms, concurrent handlers, prefetch 200.
import { setTimeout as sleep } from 'node:timers/promises'
import { Connection } from 'rabbitmq-client'

const QUEUE = 'bench'
const UNCONFIRMED = 2_000

/** @type {import('../../dist/contestant.js').Contestant} */
export const contestant = {
  async open(address) {
    const url = new URL(address)
    const queueOptions = { durable: true, arguments: { 'x-queue-type': url.searchParams.get('queueType') ?? 'quorum' } }
    url.search = ''
    const connection = new Connection(url.href)
    await connection.queueDeclare({ queue: QUEUE, ...queueOptions })
    const publisher = connection.createPublisher({ confirm: true })
    const send = (payload) => publisher.send({ routingKey: QUEUE, durable: true }, payload)

    return {
      submit: send,
      async submitMany(payloads) {
        const underWay = new Set()
        for (const payload of payloads) {
          const sent = send(payload).then(() => underWay.delete(sent))
          underWay.add(sent)
          if (underWay.size >= UNCONFIRMED) await Promise.race(underWay)
        }
        await Promise.all(underWay)
      },
      async work(handle) {
        const consumer = connection.createConsumer(
          { queue: QUEUE, queueOptions, qos: { prefetchCount: 200 }, concurrency: 200 },
          async ({ body }) => handle(body),
        )
        return () => consumer.close()
      },
      async waiting() {
        await sleep(300)
        return (await connection.queueDeclare({ queue: QUEUE, passive: true })).messageCount
      },
      close: async () => {
        await publisher.close()
        await connection.close()
      },
    }
  },
}
