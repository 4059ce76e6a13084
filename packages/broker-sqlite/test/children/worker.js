// Takes and acks for ever, and says the ids of what was acked. With a third parameter it says what it has claimed, and keeps it.
import { connect, consume, insist, keepAlive } from './broker.js'

keepAlive()
const [path, consumerId, keep] = process.argv.slice(2)
const broker = await connect(path)
const consumer = await insist(() => consume(broker, consumerId))
const { signal } = new AbortController()
for (;;) {
  const deliveries = await insist(() => consumer.receive(50, { signal }))
  if (keep) {
    process.send(deliveries.map(({ id }) => id))
    continue
  }
  const results = await insist(() => consumer.ack(deliveries))
  process.send(deliveries.filter((_, index) => results[index].status === 'ok').map(({ id }) => id))
}
