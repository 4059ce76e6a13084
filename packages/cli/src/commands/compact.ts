import type { Argv } from 'yargs'
import { withBroker } from '../broker.ts'
import type { GlobalArgs } from '../options.ts'
import { plural, print } from '../output.ts'
import { requireCall } from '../require-call.ts'

/** `--json`: `{ queue, compacted }`. */
export function compactCommand(cli: Argv<GlobalArgs>): Argv<GlobalArgs> {
  return cli.command(
    'compact <queue>',
    'Free the space that a queue uses for jobs that have left it',
    (command) =>
      command
        .positional('queue', { type: 'string', demandOption: true, describe: 'Name of the queue' })
        .example('$0 compact resize -C redis://localhost:6379', 'Changes no job of a live worker'),
    ({ queue, ...args }) =>
      withBroker(args, async (broker) => {
        const compacted = await requireCall(broker, 'compact', 'compact a queue, and does not need to')(queue)
        print(args.json, { queue, compacted }, () => `${plural(compacted, 'leftover')} removed from ${queue}.`)
      }),
  )
}
