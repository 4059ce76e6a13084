/** The Gearman broker: background and foreground jobs on gearmand. */
import type { BrokerPlugin } from '@zyqueue/core/broker'
import { GearmanBroker } from './broker.ts'

const plugin: BrokerPlugin = {
  kind: 'zyqueue.broker',
  apiVersion: 2,
  name: 'gearman',
  schemes: ['gearman'],
  create: (options) => new GearmanBroker(options),
}

export default plugin
