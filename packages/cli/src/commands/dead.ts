import type { Argv } from 'yargs'
import { BrokerError, type OpenBroker } from '@zyqueue/core'
import { previewBody } from '../body.ts'
import { describeBroker, withBroker } from '../broker.ts'
import { confirm } from '../confirm.ts'
import { count, list, nameErrors, TEXT, YES, type GlobalArgs } from '../options.ts'
import { plural, print, printNote } from '../output.ts'
import { ageOf, describeLetter, jsonLetter } from '../dead-letter.ts'
import { table, terminalWidth } from '../table.ts'
import { UsageError } from '../usage-error.ts'

/** The commands for dead letters: jobs that will not be retried, with the reason. */
export function deadCommand(cli: Argv<GlobalArgs>): Argv<GlobalArgs> {
  return cli.command(
    'dead',
    'List dead letters, run them again, or delete them',
    (command) =>
      purgeCommand(retryCommand(showCommand(listCommand(command))))
        .demandCommand(1, 1, 'a command is missing: list, show, retry or purge')
        .example('$0 dead list resize', 'The newest dead letters of one queue')
        .example('$0 dead show --id <id>', 'One of them, with stack, data and headers')
        .example('$0 dead retry resize', 'Run all of them again')
        .example('$0 dead purge resize <id>', 'Delete one'),
    () => {},
  )
}

/** `--json`: `{ queues: { <queue>: [{ id, reason, diedAtMs, task, attempts, error, headers, data }] } }`, with `body` in base64 instead of `data` if it is not JSON. */
function listCommand(cli: Argv<GlobalArgs>): Argv<GlobalArgs> {
  return cli.command(
    'list [queue]',
    'List dead letters with their reasons, the newest first',
    (command) =>
      command
        .positional('queue', { type: 'string', describe: 'Name of the queue [default: all queues]' })
        .options(nameErrors({ limit: count('Maximum number of dead letters per queue [default: 20]') }))
        .example('$0 dead list', 'The newest dead letters of all queues')
        .example('$0 dead list resize --json', 'With full data, headers and reasons'),
    (args) =>
      withBroker(args, async (broker) => {
        const queues = args.queue === undefined ? await queuesWithDead(broker) : [args.queue]
        const letters = await Promise.all(
          queues.map((queue) => broker.admin.deadLetters.list(queue, { limit: args.limit ?? 20 })),
        )
        const document = Object.fromEntries(queues.map((queue, at) => [queue, (letters[at] ?? []).map(jsonLetter)]))
        if (letters.flat().length === 0)
          printNote(args.json, `no dead letters in ${args.queue ?? describeBroker(broker)}`)
        print(args.json, { queues: document }, () =>
          table(
            letters.flat(),
            {
              ...(args.queue === undefined && { queue: (letter) => letter.queue }),
              id: (letter) => letter.id,
              age: ({ diedAtMs }) => (diedAtMs === undefined ? undefined : ageOf(diedAtMs)),
              reason: (letter) => letter.reason.replace(/^ZYQ_JOB_FAILED: /, ''),
              ...(terminalWidth() >= WIDE && { data: (letter) => previewBody(letter.body) }),
            },
            { width: terminalWidth(), cut: ['queue', 'reason', 'data'] },
          ),
        )
      }),
  )
}

/** On a narrower terminal the reason needs the place of the data. */
const WIDE = 120
/** More than any list of dead letters has. */
const ALL_LETTERS = 1_000_000

/** `--json`: `{ queue, id, reason, diedAtMs, task, attempts, error, headers, data }`, with `body` in base64 instead of `data` if it is not JSON. */
function showCommand(cli: Argv<GlobalArgs>): Argv<GlobalArgs> {
  return cli.command(
    'show [queue]',
    'Show one dead letter in full: stack, causes, headers and data',
    (command) =>
      command
        .positional('queue', { type: 'string', describe: 'Name of the queue [default: all queues]' })
        .options(nameErrors({ id: { ...TEXT, demandOption: true, describe: 'Id of the job' } }))
        .example('$0 dead show --id <id>', 'Search all queues')
        .example('$0 dead show resize --id <id> --json', 'Search one queue'),
    (args) =>
      withBroker(args, async (broker) => {
        const { id } = args
        for (const queue of args.queue === undefined ? await queuesWithDead(broker) : [args.queue]) {
          const letters = await broker.admin.deadLetters.list(queue, { limit: ALL_LETTERS })
          const letter = letters.find((each) => each.id === id)
          if (letter === undefined) continue
          return print(args.json, { queue, ...jsonLetter(letter) }, () => describeLetter(letter))
        }
        throw new BrokerError('ZYQ_JOB_NOT_FOUND', `no dead letter has the id ${id}`)
      }),
  )
}

/** `--json`: `{ requeued: { <queue>: n } }`. */
function retryCommand(cli: Argv<GlobalArgs>): Argv<GlobalArgs> {
  return cli.command(
    'retry [queue] [ids..]',
    'Put dead letters back into their queue to run again',
    (command) =>
      selection(command)
        .options({
          all: { ...ALL, describe: 'The dead letters of all queues' },
          ...nameErrors({ id: list('Comma-separated ids, in any queue') }),
        })
        .example('$0 dead retry resize', 'All dead letters of one queue')
        .example('$0 dead retry resize <id> <id>', 'Two of them')
        .example('$0 dead retry --id <id>', 'One, in any queue')
        .example('$0 dead retry --all', 'All dead letters of all queues'),
    async (args) => {
      checkSelection(args)
      await withBroker(args, async (broker) => {
        const requeued = await onEach(broker, args, (queue, ids) => broker.admin.deadLetters.requeue(queue, ids))
        print(args.json, { requeued }, () => `${plural(sum(requeued), 'dead letter')} put back.`)
      })
    },
  )
}

/** `--json`: `{ purged: { <queue>: n } }`. */
function purgeCommand(cli: Argv<GlobalArgs>): Argv<GlobalArgs> {
  return cli.command(
    'purge [queue] [ids..]',
    'Delete dead letters',
    (command) =>
      selection(command)
        .options({
          all: { ...ALL, describe: 'The dead letters of all queues' },
          ...nameErrors({ id: list('Comma-separated ids, in any queue') }),
          yes: YES,
        })
        .example('$0 dead purge resize', 'All dead letters of one queue, after confirmation')
        .example('$0 dead purge --all --yes', 'All dead letters of all queues, for scripts'),
    async (args) => {
      checkSelection(args)
      const what = args.queue === undefined ? 'every queue' : `"${args.queue}"`
      const chosenIds = args.id ?? args.ids
      const which = chosenIds.length > 0 ? plural(chosenIds.length, 'dead letter') : 'all dead letters'
      if (!(await confirm(`Delete ${which} of ${what}?`, args.yes))) return
      await withBroker(args, async (broker) => {
        const purged = await onEach(broker, args, (queue, ids) => broker.admin.deadLetters.purge(queue, ids))
        print(args.json, { purged }, () => `${plural(sum(purged), 'dead letter')} deleted.`)
      })
    },
  )
}

const ALL = { type: 'boolean', default: false } as const

function selection(command: Argv<GlobalArgs>) {
  return command
    .positional('queue', { type: 'string', describe: 'Name of the queue' })
    .positional('ids', { type: 'string', array: true, default: [], defaultDescription: 'all', describe: 'Ids of jobs' })
}

interface Selection {
  readonly queue: string | undefined
  readonly ids: readonly string[]
  /** Ids of jobs in any queue. */
  readonly id: readonly string[] | undefined
  readonly all: boolean
}

/** Checks the arguments before the command connects or deletes. */
function checkSelection({ queue, all, id }: Selection): void {
  if (id !== undefined) {
    if (queue !== undefined || all)
      throw new UsageError('--id cannot be combined with a queue or --all', 'Leave out the queue and --all.')
  } else if (queue === undefined && !all) throw new UsageError('the queue is missing', 'Name a queue, or pass --all.')
  else if (queue !== undefined && all)
    throw new UsageError('give a queue or --all, not both', 'Leave out the queue or --all.')
}

async function onEach(
  broker: OpenBroker,
  { queue, ids, id, json }: Selection & Pick<GlobalArgs, 'json'>,
  act: (queue: string, ids?: readonly string[]) => Promise<number>,
): Promise<Record<string, number>> {
  const wanted = id ?? (ids.length > 0 ? ids : undefined)
  // A queue may have the name __proto__.
  const done: Record<string, number> = Object.create(null)
  for (const name of queue === undefined ? await queuesWithDead(broker) : [queue]) {
    const count = await (wanted === undefined ? act(name) : act(name, wanted))
    if (count > 0 || id === undefined) done[name] = count
  }
  if (wanted === undefined) return done
  if (sum(done) === 0) {
    throw new BrokerError('ZYQ_JOB_NOT_FOUND', `no dead letter has one of these ids: ${wanted.join(', ')}`)
  }
  const missing = new Set(wanted).size - sum(done)
  if (missing > 0) printNote(json, `no dead letter found for ${plural(missing, 'id')}`)
  return done
}

async function queuesWithDead(broker: OpenBroker): Promise<readonly string[]> {
  const queues = await broker.admin.queues()
  return queues.filter((queue) => queue.dead !== 0).map((queue) => queue.name)
}

function sum(counts: Readonly<Record<string, number>>): number {
  return Object.values(counts).reduce((total, one) => total + one, 0)
}
