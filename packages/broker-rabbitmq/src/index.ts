/** The RabbitMQ broker: job queues over AMQP 0-9-1. */
import type { BrokerPlugin } from '@zyqueue/core/broker'
import { RabbitBroker } from './broker.ts'

export type { RabbitTaskOptions } from './options.ts'

const plugin: BrokerPlugin = {
  kind: 'zyqueue.broker',
  apiVersion: 2,
  name: 'rabbitmq',
  schemes: ['amqp', 'amqps'],
  create: (options) => new RabbitBroker(options),
}

export default plugin
