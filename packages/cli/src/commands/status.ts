import type { Argv } from 'yargs'
import { describeBroker, withBroker } from '../broker.ts'
import type { GlobalArgs } from '../options.ts'
import { print, printNote } from '../output.ts'
import { detailColumns, table } from '../table.ts'
import { namedQueues } from '../queues.ts'

/** `--json`: `{ broker, location, queues: [{ name, ready, delayed, active, dead, workers, details }] }`. A figure that the broker does not know is absent. */
export function statusCommand(cli: Argv<GlobalArgs>): Argv<GlobalArgs> {
  return cli.command(
    'status [queues..]',
    'Show the number of ready, active, delayed and dead jobs of each queue',
    (command) =>
      command
        .positional('queues', {
          type: 'string',
          array: true,
          default: [],
          defaultDescription: 'all',
          describe: 'Names of queues',
        })
        .example('$0 status', 'All queues of the embedded broker')
        .example('$0 status -C redis://localhost:6379 --json', 'The queues of a Redis server, as JSON'),
    (args) =>
      withBroker(args, async (broker) => {
        const queues = await namedQueues(broker, args.queues)
        if (queues.length === 0) printNote(args.json, `no queues in ${describeBroker(broker)}`)
        print(args.json, { broker: broker.name, location: broker.location, queues }, () =>
          table(queues, {
            queue: (queue) => queue.name,
            ready: (queue) => queue.ready,
            active: (queue) => queue.active,
            workers: (queue) => queue.workers,
            delayed: (queue) => queue.delayed,
            dead: (queue) => queue.dead,
            ...detailColumns(queues),
          }),
        )
      }),
  )
}
