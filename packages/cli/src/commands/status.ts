import type { Argv } from 'yargs'
import type { QueueStats } from '@zyqueue/core/broker'
import { placeOf, withBroker } from '../broker.ts'
import type { GlobalArgs } from '../options.ts'
import { print, remark } from '../output.ts'
import { table } from '../table.ts'
import { namedQueues } from '../queues.ts'

/** Of those that are queued, where the broker counts them so. */
const PRIORITIES = {
  high: (queue: QueueStats) => queue.high,
  normal: (queue: QueueStats) => queue.normal,
  low: (queue: QueueStats) => queue.low,
}

/** `--json`: `{ broker, location, queues: [{ name, ready, delayed, active, dead, workers, high, normal, low }] }`; unknown figures are left out. */
export function statusCommand(cli: Argv<GlobalArgs>): Argv<GlobalArgs> {
  return cli.command(
    'status [queues..]',
    'Show how many jobs wait, run and died in each queue',
    (command) =>
      command
        .positional('queues', {
          type: 'string',
          array: true,
          default: [],
          defaultDescription: 'all',
          describe: 'Names',
        })
        .example('$0 status', 'All queues of the embedded broker')
        .example('$0 status -C redis://localhost:6379 --json', 'Those of a Redis server, as JSON'),
    (args) =>
      withBroker(args, async (broker) => {
        const queues = namedQueues(await broker.admin.queues(), args.queues)
        if (queues.length === 0) remark(args.json, `no queues in ${placeOf(broker)}`)
        print(args.json, { broker: broker.name, location: broker.location, queues }, () =>
          table(queues, {
            task: (queue) => queue.name,
            queued: (queue) => queue.ready,
            running: (queue) => queue.active,
            workers: (queue) => queue.workers,
            delayed: (queue) => queue.delayed,
            dead: (queue) => queue.dead,
            ...(queues.some(({ high }) => high !== undefined) ? PRIORITIES : {}),
          }),
        )
      }),
  )
}
