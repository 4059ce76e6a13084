import type { Argv } from 'yargs'
import { describeBroker, withBroker } from '../broker.ts'
import type { GlobalArgs } from '../options.ts'
import { print, printNote } from '../output.ts'
import { requireCall } from '../require-call.ts'
import { detailColumns, table } from '../table.ts'

/** `--json`: `{ broker, location, workers: [{ id, client: { name, host, pid }, queues, active, connectedAtMs, details }] }`. */
export function workersCommand(cli: Argv<GlobalArgs>): Argv<GlobalArgs> {
  return cli.command(
    'workers',
    'List the connected workers and their queues',
    (command) => command.example('$0 workers -C gearman://localhost:4730', 'The workers of a Gearman server'),
    (args) =>
      withBroker(args, async (broker) => {
        const workers = await requireCall(broker, 'workers', 'list its workers')()
        if (workers.length === 0) printNote(args.json, `no workers on ${describeBroker(broker)}`)
        print(args.json, { broker: broker.name, location: broker.location, workers }, () =>
          table(workers, {
            host: (worker) => worker.client.host,
            name: (worker) => worker.client.name || worker.id,
            pid: (worker) => worker.client.pid || undefined,
            active: (worker) => worker.active,
            queues: (worker) => worker.queues.join(', '),
            ...detailColumns(workers),
          }),
        )
      }),
  )
}
