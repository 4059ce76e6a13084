import type { Argv } from 'yargs'
import type { StoredJob } from '@zyqueue/core/broker'
import { decodeBody, previewBody } from '../body.ts'
import { describeBroker, withBroker } from '../broker.ts'
import { count, nameErrors, type GlobalArgs } from '../options.ts'
import { print, printNote } from '../output.ts'
import { table } from '../table.ts'
import { requireCall } from '../require-call.ts'

/** `--json`: `{ queue, jobs: [{ id, state, priority, storedAtMs, readyAtMs, headers, data }] }`, with `body` in base64 instead of `data` if it is not JSON. */
export function jobsCommand(cli: Argv<GlobalArgs>): Argv<GlobalArgs> {
  return cli.command(
    'jobs <queue>',
    'List the jobs of a queue: the running ones, then the waiting ones',
    (command) =>
      command
        .positional('queue', { type: 'string', demandOption: true, describe: 'Name of the queue' })
        .options(nameErrors({ limit: count('Maximum number of jobs [default: 20]') }))
        .example('$0 jobs resize', 'The next jobs of one queue')
        .example('$0 jobs resize --limit 1000 --json', 'With full data and headers'),
    ({ queue, limit = 20, ...args }) =>
      withBroker(args, async (broker) => {
        const jobs = await requireCall(broker, 'jobs', 'list the jobs of a queue')(queue, { limit })
        if (jobs.length === 0) printNote(args.json, `no jobs in ${queue} on ${describeBroker(broker)}`)
        print(args.json, { queue, jobs: jobs.map(describe) }, () =>
          table(jobs, {
            id: (job) => job.id,
            state: (job) => job.state,
            priority: (job) => job.priority,
            storedAt: (job) => isoOf(job.storedAtMs),
            readyAt: (job) => isoOf(job.readyAtMs),
            data: (job) => previewBody(job.body),
          }),
        )
      }),
  )
}

function describe({ queue: _, body, ...job }: StoredJob): object {
  return { ...job, ...decodeBody(body) }
}

function isoOf(ms: number | undefined): string | undefined {
  return ms === undefined ? undefined : new Date(ms).toISOString()
}
