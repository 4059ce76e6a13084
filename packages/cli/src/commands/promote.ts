import type { Argv } from 'yargs'
import { withBroker } from '../broker.ts'
import { nameErrors, TEXT, type GlobalArgs } from '../options.ts'
import { plural, print, printNote } from '../output.ts'
import { requireCall } from '../require-call.ts'
import { changeJobs } from '../single-jobs.ts'

/** `--json`: `{ promoted: { <queue>: n }, notFound: [<id>] }`. */
export function promoteCommand(cli: Argv<GlobalArgs>): Argv<GlobalArgs> {
  return cli.command(
    'promote <ids..>',
    'Make delayed jobs ready now',
    (command) =>
      command
        .positional('ids', {
          type: 'string',
          array: true,
          demandOption: true,
          // Without it, yargs shows an empty list as the default of this required argument.
          default: undefined,
          describe: 'Ids of jobs',
        })
        .options(nameErrors({ queue: { ...TEXT, describe: 'Search only this queue [default: all queues]' } }))
        .example('$0 promote <id>', 'A job of any queue: delayed, or waiting for a retry')
        .example('$0 promote <id> <id> --queue resize', 'Faster if there are many queues'),
    ({ ids, queue, ...args }) =>
      withBroker(args, async (broker) => {
        const promote = requireCall(broker, 'promote', 'make delayed jobs ready')
        const { perQueue, count, notFound } = await changeJobs(broker, { ids, queue, kind: 'delayed' }, promote)
        if (notFound.length > 0) printNote(args.json, `no delayed job has the id ${notFound.join(', ')}`)
        print(args.json, { promoted: perQueue, notFound }, () => `${plural(count, 'job')} promoted.`)
      }),
  )
}
