// Receives and acks jobs without end, and reports the ids that were acked. With a third parameter it reports the jobs that it received, and keeps them.
import { connect, consume, repeatWhileBusy, keepAlive } from './broker.js'

keepAlive()
const [path, consumerId, keep] = process.argv.slice(2)
const broker = await connect(path)
const consumer = await repeatWhileBusy(() => consume(broker, consumerId))
const { signal } = new AbortController()
for (;;) {
  const deliveries = await repeatWhileBusy(() => consumer.receive(50, { signal }))
  if (keep) {
    process.send(deliveries.map(({ id }) => id))
    continue
  }
  const results = await repeatWhileBusy(() => consumer.ack(deliveries))
  process.send(deliveries.filter((_, index) => results[index].status === 'ok').map(({ id }) => id))
}
