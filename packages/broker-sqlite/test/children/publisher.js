// Publishes batches of ten without end, or `count` of them, and reports the ids that were stored.
import { connect, repeatWhileBusy, keepAlive, message } from './broker.js'

const finish = keepAlive()
const [path, name, count = 'Infinity'] = process.argv.slice(2)
const broker = await connect(path)
for (let batch = 0; batch < Number(count); batch++) {
  const ids = Array.from({ length: 10 }, (_, index) => `${name}-${batch}-${index}`)
  const results = await repeatWhileBusy(() => broker.publish(ids.map(message)))
  process.send(ids.filter((_, index) => results[index].status === 'stored'))
}
await broker.close()
process.disconnect()
finish()
