/** NATS JetStream as a broker of ZyQueue. */
import type { BrokerPlugin } from '@zyqueue/core/broker'
import { NatsBroker } from './broker.ts'

const plugin: BrokerPlugin = {
  kind: 'zyqueue.broker',
  apiVersion: 2,
  name: 'nats',
  schemes: ['nats'],
  create: (options) => new NatsBroker(options),
}

export default plugin
