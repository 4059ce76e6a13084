// Uses each part of the broker once, closes it or not, and must then end without process.exit.
import { connect, consume, keepAlive, message } from './broker.js'

const [path, closing] = process.argv.slice(2)
process.disconnect()
const finish = keepAlive()
const broker = await connect(path)
await broker.publish([message('a')])
const consumer = await consume(broker, 'short-lived')
const { signal } = new AbortController()
await consumer.ack(await consumer.receive(1, { signal }))
void consumer.receive(1, { signal })
if (closing === 'close') await broker.close()
finish()
