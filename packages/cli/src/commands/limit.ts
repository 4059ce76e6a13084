import type { Argv } from 'yargs'
import { withBroker } from '../broker.ts'
import type { GlobalArgs } from '../options.ts'
import { plural, print } from '../output.ts'
import { requireCall } from '../require-call.ts'
import { UsageError } from '../usage-error.ts'

/** `--json`: `{ queue, limit }`. */
export function limitCommand(cli: Argv<GlobalArgs>): Argv<GlobalArgs> {
  return cli.command(
    'limit <queue> <jobs>',
    'Limit the number of waiting jobs of a queue; 0 removes the limit',
    (command) =>
      command
        .positional('queue', { type: 'string', demandOption: true, describe: 'Name of the queue' })
        .positional('jobs', { type: 'string', demandOption: true, describe: 'Maximum number of waiting jobs' })
        .example('$0 limit resize 10000 -C gearman://localhost:4730', 'Beyond it, a submit fails with ZYQ_BROKER_FULL'),
    ({ queue, jobs, ...args }) => {
      const limit = Number(jobs)
      if (!/^\d{1,9}$/.test(jobs)) throw new UsageError(`"${jobs}" is not a whole number`, 'See zyqueue limit --help.')
      return withBroker(args, async (broker) => {
        await requireCall(broker, 'limit', 'limit a queue')(queue, limit)
        print(args.json, { queue, limit }, () =>
          limit === 0 ? `${queue} has no limit.` : `${queue} takes at most ${plural(limit, 'waiting job')}.`,
        )
      })
    },
  )
}
