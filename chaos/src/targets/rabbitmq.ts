import { PROMPT_DEAD_LETTERS, startRabbitmq, type RabbitmqServer } from '@zyqueue/test-servers'
import type { TargetKind } from '../target.ts'
import { onServer } from './server.ts'

/** RabbitMQ takes many seconds to start, so runs that do not restart it share one server with a queue each. It ends with this process. */
let shared: Promise<RabbitmqServer> | undefined

export const rabbitmq: TargetKind = {
  broker: 'rabbitmq',
  setUp:
    'One node with quorum queues. If RabbitMQ before 3.13.6 is killed while it creates a queue, the queue may stay without a leader for ever. Here all queues are created before RabbitMQ is killed.',
  isServer: true,
  hasSpaceLimit: true,
  hasInjectedFault: true,
  losesNewQueues: true,
  countsLostConnections: true,
  idsAreUnique: false,
  async start(requirements) {
    const server = await (requirements.exclusive
      ? startRabbitmq({ env: PROMPT_DEAD_LETTERS })
      : (shared ??= startRabbitmq()))
    return onServer(server, requirements, {
      data: 'mnesia',
      shared: !requirements.exclusive,
      space: {
        exhaust: async () => void (await server.ctl('set_vm_memory_high_watermark', '0.00001')),
        restore: async () => void (await server.ctl('set_vm_memory_high_watermark', '0.4')),
      },
      injectFault: async () => void (await server.ctl('close_all_connections', 'chaos test')),
    })
  },
}
