import { PROMPT_DEAD_LETTERS, startRabbitmq, type RabbitmqServer } from '@zyqueue/test-servers'
import type { TargetKind } from '../target.ts'
import { onServer } from './server.ts'

/** RabbitMQ takes many seconds to start: cells that leave it alive share one, with a queue each. It ends with this process. */
let shared: Promise<RabbitmqServer> | undefined

export const rabbitmq: TargetKind = {
  broker: 'rabbitmq',
  setUp:
    'One node, quorum queues. RabbitMQ before 3.13.6 may leave a queue without a leader for ever when it is killed in the moment in which it makes it; here all queues that jobs pass are made before it is killed, so that no cell kills it in that moment.',
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
      injectFault: async () => void (await server.ctl('close_all_connections', 'as it was told to')),
    })
  },
}
