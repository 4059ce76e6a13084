import type { Argv } from 'yargs'
import { withBroker } from '../broker.ts'
import { nameErrors, TEXT, type GlobalArgs } from '../options.ts'
import { plural, print, printNote } from '../output.ts'
import { requireCall } from '../require-call.ts'
import { changeJobs } from '../single-jobs.ts'

/** `--json`: `{ cancelled: { <queue>: n }, notFound: [<id>] }`. */
export function cancelCommand(cli: Argv<GlobalArgs>): Argv<GlobalArgs> {
  return cli.command(
    'cancel <ids..>',
    'Delete waiting jobs by id',
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
        .example('$0 cancel <id>', 'A job of any queue')
        .example('$0 cancel <id> <id> --queue resize', 'Faster if there are many queues'),
    ({ ids, queue, ...args }) =>
      withBroker(args, async (broker) => {
        const cancel = requireCall(broker, 'cancel', 'delete single jobs')
        const { perQueue, count, notFound } = await changeJobs(broker, { ids, queue, kind: 'waiting' }, cancel)
        if (notFound.length > 0) printNote(args.json, `no waiting job has the id ${notFound.join(', ')}`)
        print(args.json, { cancelled: perQueue, notFound }, () => `${plural(count, 'job')} cancelled.`)
      }),
  )
}
