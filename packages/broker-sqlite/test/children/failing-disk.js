// Its files cannot grow beyond a limit of the system, so commits fail as on a disk with an error. Holds jobs, publishes until
// no job fits, then settles the held jobs. Reports what it was told about each job.
import { connect, consume, keepAlive, message } from './broker.js'

const finish = keepAlive()
const broker = await connect(process.argv[2])
const consumer = await consume(broker, 'child')
const held = await consumer.receive(10, { signal: new AbortController().signal })
process.send({ held: held.map(({ id }) => id) })
// Where a large job does not fit, a smaller one may.
for (const bytes of [30_000, 3_000, 100]) {
  for (let count = 0, failed = 0; failed < 3; count++) {
    const id = `${bytes}-${count}`
    const ids = [`${id}-a`, `${id}-b`]
    const batches = await Promise.all(
      ids.map((id) => broker.publish([{ ...message(id), body: new Uint8Array(bytes) }])),
    )
    for (const [index, [{ status, error }]] of batches.entries()) {
      process.send({ id: ids[index], status, code: error?.code })
    }
    failed += batches.every(([{ status }]) => status === 'stored') ? 0 : 1
  }
}
process.send({ acked: (await consumer.ack(held)).map(({ status }) => status) })
process.send({ ackedAgain: (await consumer.ack(held)).map(({ status }) => status) })
const error = await consumer.receive(1, { signal: new AbortController().signal }).catch((error) => error)
process.send({ receiveCode: error.code })
process.disconnect()
finish()
