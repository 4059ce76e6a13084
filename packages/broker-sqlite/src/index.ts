/** The embedded broker: a durable queue for several processes in one SQLite file. */
import type { BrokerPlugin } from '@zyqueue/core/broker'
import { SqliteBroker } from './broker.ts'

const plugin: BrokerPlugin = {
  kind: 'zyqueue.broker',
  apiVersion: 2,
  name: 'sqlite',
  schemes: ['sqlite'],
  create: (options) => new SqliteBroker(options),
}

export default plugin
