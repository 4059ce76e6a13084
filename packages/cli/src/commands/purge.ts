import type { Argv } from 'yargs'
import { withBroker } from '../broker.ts'
import { confirm } from '../confirm.ts'
import { YES, type GlobalArgs } from '../options.ts'
import { plural, print } from '../output.ts'

/** `--json`: `{ queue, purged }`. */
export function purgeCommand(cli: Argv<GlobalArgs>): Argv<GlobalArgs> {
  return cli.command(
    'purge <queue>',
    'Delete the waiting and delayed jobs of a queue',
    (command) =>
      command
        .positional('queue', { type: 'string', demandOption: true, describe: 'Name of the queue' })
        .options({ yes: YES })
        .example('$0 purge resize', 'Asks for confirmation')
        .example('$0 purge resize --yes', 'For scripts'),
    async ({ queue, yes, ...args }) => {
      if (!(await confirm(`Delete all waiting and delayed jobs of "${queue}"?`, yes))) return
      await withBroker(args, async (broker) => {
        const purged = await broker.admin.purge(queue)
        print(args.json, { queue, purged }, () => `Deleted ${plural(purged, 'job')} from ${queue}.`)
      })
    },
  )
}
