// Opens, uses and closes brokers again and again with one driver, and says how many descriptors and bytes all forty left open.
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
  // Some files come again and again, others once.
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
