/**
 * The limit: amqplib alone. Persistent messages with publisher confirms and a bounded number of unconfirmed messages, consumed
 * with a prefetch of 200 and acked one by one. No ids, headers, delivery counts, types or retries.
 */
import { once } from 'node:events'
import { connect, type ConfirmChannel, type Message } from 'amqplib'
import { QUEUE } from '../bench-queue.ts'
import type { Contestant, Payload } from '../contestant.ts'

const PREFETCH = 200
const UNCONFIRMED = 2_000

export const contestant: Contestant = rawOn({})

/** The raw contestant on a queue with these additional arguments. */
export function rawOn(more: Readonly<Record<string, unknown>>): Contestant {
  return {
    async open(address) {
      const url = new URL(address)
      const queueType = url.searchParams.get('queueType') ?? 'quorum'
      url.search = ''
      const connection = await connect(url.href, { noDelay: true })
      const channel = await connection.createConfirmChannel()
      await channel.assertQueue(QUEUE, { durable: true, arguments: { 'x-queue-type': queueType, ...more } })
      return {
        submit: (data) => publish(channel, data),
        submitMany: (payloads) => publishAll(channel, payloads),
        async work(handle) {
          const worker = await connection.createChannel()
          await worker.prefetch(PREFETCH)
          const run = async (message: Message): Promise<void> => {
            await handle(JSON.parse(message.content.toString()) as Payload)
            worker.ack(message)
          }
          const { consumerTag } = await worker.consume(QUEUE, (message) => {
            if (message !== null) void run(message)
          })
          return async () => {
            await worker.cancel(consumerTag)
            await worker.close()
          }
        },
        async waiting() {
          // Prefetched jobs return a moment after the channel was closed.
          await new Promise((resolve) => setTimeout(resolve, 300))
          return (await channel.checkQueue(QUEUE)).messageCount
        },
        close: () => connection.close(),
      }
    },
  }
}

function publish(channel: ConfirmChannel, data: Payload): Promise<void> {
  return new Promise((resolve, reject) => {
    const body = Buffer.from(JSON.stringify(data))
    channel.sendToQueue(QUEUE, body, { persistent: true }, (error: unknown) => {
      if (error instanceof Error) reject(error)
      else resolve()
    })
  })
}

async function publishAll(channel: ConfirmChannel, payloads: Iterable<Payload>): Promise<void> {
  let unconfirmed = 0
  let wake = (): void => {}
  for (const data of payloads) {
    unconfirmed++
    const goesOn = channel.sendToQueue(QUEUE, Buffer.from(JSON.stringify(data)), { persistent: true }, () => {
      unconfirmed--
      wake()
    })
    if (!goesOn) await once(channel, 'drain')
    if (unconfirmed >= UNCONFIRMED) await new Promise<void>((resolve) => (wake = resolve))
  }
  await channel.waitForConfirms()
}
