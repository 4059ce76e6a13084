import { setTimeout as sleep } from 'node:timers/promises'
import type { Argv } from 'yargs'
import type { OpenBroker } from '@zyqueue/core'
import type { QueueStats } from '@zyqueue/core/broker'
import { describeBroker, withBroker } from '../broker.ts'
import { duration, nameErrors, type GlobalArgs } from '../options.ts'
import { print, printNote } from '../output.ts'
import { namedQueues } from '../queues.ts'
import { readyPerSecond, totalOf, type Look } from '../queue-figures.ts'
import { detailColumns, table } from '../table.ts'
import { describeAge } from '../units.ts'

const MIN_INTERVAL_MS = 100

/**
 * `--json`: `{ broker, location, queues: [{ name, ready, delayed, active, dead, workers, oldestStoredAtMs, details }], total }`. A
 * figure that the broker does not know is absent. With `--watch`, one document for each look; from the second on, queues and total
 * have `readyPerSecond`.
 */
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
        .options(
          nameErrors({
            watch: duration('Show them again and again, with rates: the time between, such as 2s', MIN_INTERVAL_MS),
          }),
        )
        .example('$0 status', 'All queues of the embedded broker')
        .example('$0 status --watch 2s', 'Every two seconds, with the change of ready jobs per second')
        .example('$0 status -C redis://localhost:6379 --json', 'The queues of a Redis server, as JSON'),
    (args) =>
      withBroker(args, async (broker) => {
        let before = await look(broker, args.queues)
        show(args.json, broker, before)
        while (args.watch !== undefined) {
          await sleep(args.watch)
          const now = await look(broker, args.queues)
          show(args.json, broker, now, before)
          before = now
        }
      }),
  )
}

async function look(broker: OpenBroker, names: readonly string[]): Promise<Look> {
  const queues = await namedQueues(broker, names)
  return { queues, atMs: performance.now() }
}

function show(json: boolean, broker: OpenBroker, now: Look, before?: Look): void {
  if (now.queues.length === 0) printNote(json, `no queues in ${describeBroker(broker)}`)
  const withRate = (queue: QueueStats): QueueStats & { readonly readyPerSecond?: number } => {
    const rate = before === undefined ? undefined : readyPerSecond(queue.name, now, before)
    return rate === undefined ? queue : { ...queue, readyPerSecond: rate }
  }
  const queues = now.queues.map(withRate)
  const { name: _all, ...total } = withRate(totalOf(now.queues))
  const rows = queues.length > 1 ? [...queues, { ...total, name: 'all queues' }] : queues
  const hasAge = queues.some(({ oldestStoredAtMs }) => oldestStoredAtMs !== undefined)
  print(json, { broker: broker.name, location: broker.location, queues, total }, () =>
    table(rows, {
      queue: (queue) => queue.name,
      ready: (queue) => queue.ready,
      ...(before && { 'ready/s': (queue) => signed(queue.readyPerSecond) }),
      ...(hasAge && { oldest: ({ oldestStoredAtMs: at }) => (at === undefined ? at : describeAge(Date.now() - at)) }),
      active: (queue) => queue.active,
      workers: (queue) => queue.workers,
      delayed: (queue) => queue.delayed,
      dead: (queue) => queue.dead,
      ...detailColumns(queues),
    }),
  )
}

function signed(rate: number | undefined): string | undefined {
  return rate !== undefined && rate > 0 ? `+${rate}` : rate?.toString()
}
