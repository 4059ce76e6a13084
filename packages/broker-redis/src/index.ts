/** The Redis broker: job queues on a Redis or Valkey server, with Sentinel or on a Cluster. */
import type { BrokerPlugin } from '@zyqueue/core/broker'
import { RedisBroker } from './broker.ts'

const plugin: BrokerPlugin = {
  kind: 'zyqueue.broker',
  apiVersion: 2,
  name: 'redis',
  schemes: ['redis', 'rediss', 'redis+sentinel', 'redis+cluster'],
  create: (options) => new RedisBroker(options),
}

export default plugin
