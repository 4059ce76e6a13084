// Opens, uses and closes a broker 121 times with one driver. Prints the open descriptors and the memory after every 40.
import { readdirSync } from 'node:fs'
import { join } from 'node:path'
import { SqliteBroker } from '../../dist/broker.js'
import { drivers } from '../../dist/driver.js'
import { consume, keepAlive, message } from './broker.js'

const finish = keepAlive()
const [folder, driverName] = process.argv.slice(2)
const driver = drivers().find(({ name }) => name === driverName)
const { signal } = new AbortController()
for (let cycle = 0; cycle <= 120; cycle++) {
  // Even cycles use the same five files again, odd ones a new file.
  const path = join(folder, `${cycle % 2 === 0 ? cycle % 10 : cycle}.db`)
  const broker = new SqliteBroker({ connection: `sqlite:${path}`, baseDir: folder }, driver)
  await broker.connect()
  await broker.publish([message('a')])
  const consumer = await consume(broker, 'reopen')
  await consumer.ack(await consumer.receive(10, { signal }))
  await broker.admin.queues()
  await broker.close()
  if (cycle % 40 === 0) {
    process.stdout.write(`${readdirSync('/proc/self/fd').length} ${process.memoryUsage.rss()}\n`)
  }
}
finish()
