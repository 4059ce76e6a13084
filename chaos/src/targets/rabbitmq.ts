import { startRabbitmq, type RabbitmqServer } from '@zyqueue/test-servers'
import type { TargetKind } from '../target.ts'
import { onServer } from './server.ts'

/** RabbitMQ takes many seconds to start: cells that leave it alive share one, with a queue each. It ends with this process. */
let shared: Promise<RabbitmqServer> | undefined

/**
 * Dead letters on their way from one queue to another when a node dies, and so jobs whose delay ends then, are sent again
 * after three minutes. Nobody waits so long here: after three seconds.
 */
const PROMPT = {
  RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS:
    '-kernel inet_dist_use_interface {127,0,0,1} -rabbit dead_letter_worker_publisher_confirm_timeout 3000',
}

/**
 * RabbitMQ before 3.13.6 that is killed while it makes a quorum queue comes back with one that never has a leader; the broker
 * can shorten that moment, not close it. In a cell all queues are made in a few seconds, and it is to find out what else may break:
 * here their names are on the disk within 10 ms. Erlang, for `rabbitmqctl eval`.
 */
const NOTE_NAMES = `
  #{names := #{directory_rev := Names}} = ra_system:fetch(quorum_queues),
  spawn(fun Note() -> dets:sync(Names), timer:sleep(10), Note() end).`

export const rabbitmq: TargetKind = {
  broker: 'rabbitmq',
  setUp:
    'One node, quorum queues. RabbitMQ before 3.13.6 may leave a queue without a leader when it is killed in the moment in which it makes it; here that moment is kept short.',
  isServer: true,
  hasLimits: true,
  hasMishaps: true,
  countsConnections: true,
  idsAreUnique: false,
  async start(wishes) {
    const server = await (wishes.exclusive ? startExclusive() : (shared ??= startRabbitmq()))
    return onServer(server, wishes, {
      data: 'mnesia',
      shared: !wishes.exclusive,
      room: {
        take: async () => void (await server.ctl('set_vm_memory_high_watermark', '0.00001')),
        giveBack: async () => void (await server.ctl('set_vm_memory_high_watermark', '0.4')),
      },
      mishap: async () => void (await server.ctl('close_all_connections', 'as it was told to')),
    })
  },
}

async function startExclusive(): Promise<RabbitmqServer> {
  const server = await startRabbitmq({ env: PROMPT })
  await server.ctl('eval', NOTE_NAMES)
  return server
}
