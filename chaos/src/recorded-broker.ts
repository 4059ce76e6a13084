/** The broker of a run, as a module for each of its processes: records deliveries and settlements, and has the crash points. */
import { recordingPlugin, recordTo, type ChaosRecord } from '@zyqueue/broker-test-kit'
import type { BrokerPlugin, Consumer } from '@zyqueue/core/broker'
import { crashIf } from './crash-point.ts'
import { BROKER, FOLDER } from './load.ts'

const folder = process.env[FOLDER] ?? '.'
const { default: real }: { default: BrokerPlugin } = await import(`@zyqueue/broker-${process.env[BROKER]}`)
let write: ((record: ChaosRecord) => void) | undefined

/** Opens the file with the first record, because the supervisor also loads this module and records nothing. */
function record(one: ChaosRecord): void {
  write ??= recordTo(folder)
  write(one)
}

const crashing: BrokerPlugin = {
  ...real,
  create(options) {
    const broker = real.create(options)
    const consume = broker.consume.bind(broker)
    return Object.assign(broker, {
      consume: async (wanted: Parameters<typeof consume>[0]) => crashingConsumer(await consume(wanted)),
    })
  },
}

function crashingConsumer(consumer: Consumer): Consumer {
  return {
    async receive(max, options) {
      const deliveries = await consumer.receive(max, options)
      if (deliveries.length > 0) crashIf(folder, 'claimed', record)
      return deliveries
    },
    async ack(deliveries) {
      crashIf(folder, 'ack', record)
      return consumer.ack(deliveries)
    },
    release: (releases) => consumer.release(releases),
    reject: (rejections) => consumer.reject(rejections),
    close: () => consumer.close(),
  }
}

const plugin: BrokerPlugin = recordingPlugin(crashing, record)
export default plugin
