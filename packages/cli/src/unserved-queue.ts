import { withBroker } from './broker.ts'
import { suggest } from '@zyqueue/core/supervisor'
import type { GlobalArgs } from './options.ts'
import { printWarning } from './output.ts'

/** The maximum number of names in the warning. */
const MAX_NAMES = 10

/**
 * Prints a warning to standard error if no worker serves the queue of a job that was just stored: its name may be misspelt.
 * Never rejects.
 */
export async function warnIfUnserved(args: GlobalArgs, queue: string): Promise<void> {
  // The job is stored: an operator without the rights to look does not need an error.
  const warning = await withBroker(args, async ({ admin }) => {
    const queues = await admin.queues()
    const workers = (await admin.workers?.()) ?? []
    const served = new Set(workers.flatMap((worker) => worker.queues))
    for (const { name, workers: count = 0 } of queues) if (count > 0) served.add(name)
    const isCounted = admin.workers !== undefined || queues.some((each) => each.workers !== undefined)
    if (served.has(queue) || !isCounted) return undefined
    return describe(
      queue,
      [...served],
      queues.map(({ name }) => name).filter((name) => name !== queue),
    )
  }).catch(() => undefined)
  if (warning !== undefined) printWarning(args.json, warning)
}

function describe(queue: string, served: readonly string[], queues: readonly string[]): string {
  const near = suggest(queue, served) ?? suggest(queue, queues)
  const hint =
    near === undefined ? 'If its task has another queue, pass --task-file or --queue.' : `Did you mean "${near}"?`
  const unserved = queues.filter((name) => !served.includes(name))
  const known = [
    served.length === 0 ? 'No worker is connected' : `Workers serve ${list(served)}`,
    ...(unserved.length === 0 ? [] : [`Other queues: ${list(unserved)}`]),
  ]
  return `no worker serves the queue "${queue}". ${hint} ${known.join('. ')}.`
}

function list(names: readonly string[]): string {
  const shown = names.toSorted().slice(0, MAX_NAMES).join(', ')
  return names.length > MAX_NAMES ? `${shown} and ${names.length - MAX_NAMES} more` : shown
}
