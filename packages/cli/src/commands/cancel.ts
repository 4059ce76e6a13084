import type { Argv } from 'yargs'
import { BrokerError } from '@zyqueue/core'
import { withBroker } from '../broker.ts'
import { nameErrors, TEXT, type GlobalArgs } from '../options.ts'
import { plural, print, printNote } from '../output.ts'
import { requireCall } from '../require-call.ts'

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
        const queues = queue === undefined ? (await broker.admin.queues()).map(({ name }) => name) : [queue]
        const counts = new Map<string, number>()
        const missing = new Set(ids)
        for (const name of queues) {
          // One id per call: for several ids a broker returns only the number that it cancelled.
          for (const id of missing) {
            if ((await cancel(name, [id])) === 0) continue
            missing.delete(id)
            counts.set(name, (counts.get(name) ?? 0) + 1)
          }
        }
        const notFound = [...missing]
        const none = `no waiting job has one of these ids: ${notFound.join(', ')}`
        if (counts.size === 0) throw new BrokerError('ZYQ_JOB_NOT_FOUND', none)
        if (notFound.length > 0) printNote(args.json, `no waiting job has the id ${notFound.join(', ')}`)
        // `fromEntries` also makes an entry for a queue with the name __proto__.
        const cancelled = Object.fromEntries(counts)
        print(args.json, { cancelled, notFound }, () => `${plural(new Set(ids).size - missing.size, 'job')} cancelled.`)
      }),
  )
}
