import type { Argv } from 'yargs'
import { ConfigError, remoteTask, type Priority, type Task } from '@zyqueue/core'
import { suggest } from '@zyqueue/core/supervisor'
import { parseJson } from '../ndjson.ts'
import { count, duration, withoutUndefined, nameErrors, TASK_FILE, TEXT, type GlobalArgs } from '../options.ts'
import { plural, print } from '../output.ts'
import { submitLines } from '../submit-lines.ts'
import { importTaskFile, openTaskFile } from '../task-file/index.ts'
import { warnIfUnserved } from '../unserved-queue.ts'
import { UsageError } from '../usage-error.ts'

const NAMES = ['low', 'normal', 'high'] as const
const level = count('low, normal, high or 0 to 9; higher ones run first, normal is 4', 0, 9)
const PRIORITY = {
  ...level,
  coerce: (given: string | undefined): Priority | undefined => NAMES.find((name) => name === given) ?? readLevel(given),
} as const

function readLevel(given: string | undefined): number | undefined {
  try {
    return level.coerce(given)
  } catch {
    throw new Error(`"${given}" is not low, normal, high or a whole number from 0 to 9`)
  }
}

/** `--json`: `{ id, task, queue }` for one job, `{ task, queue, stored }` for a list and for standard input. */
export function submitCommand(cli: Argv<GlobalArgs>): Argv<GlobalArgs> {
  return cli.command(
    'submit <task> [data]',
    'Submit one job, or one for each line of standard input',
    (command) =>
      command
        .positional('task', { type: 'string', demandOption: true, describe: 'Name of the task' })
        .positional('data', {
          type: 'string',
          describe: 'JSON; a list submits one job per item; - or nothing reads JSON lines from standard input',
        })
        // Without it, yargs takes a single - for an option without a name, and the data for empty.
        .nargs('data', 1)
        .options(
          nameErrors({
            'task-file': {
              ...TASK_FILE,
              describe:
                'File that defines the task; checks name and data, sets the queue and, without -S and -C, the broker',
            },
            queue: {
              ...TEXT,
              alias: 'q',
              conflicts: 'task-file',
              describe: 'Queue [default: the name of the task]',
            },
            delay: duration('Run the job after this time at the earliest, such as 30s', 0, 'years'),
            expires: duration('Do not run the job if it is older than this, such as 10m [default: never]', 1, 'years'),
            priority: PRIORITY,
          } as const),
        )
        .example(`$0 submit resize '{"file":"a.png"}'`, 'One job')
        .example(`$0 submit mail null --delay 5m`, 'A job without data, in five minutes')
        .example(`jq -c '.[]' files.json | $0 submit resize`, 'One job for each line'),
    async ({ data, json, delay, expires, priority, ...args }) => {
      if ((data === undefined || data === '-') && process.stdin.isTTY) {
        throw new UsageError('the data is missing', 'Pass it as one JSON argument (null for none), or pipe JSON lines.')
      }
      const { server, connection, queue } = args
      // Paths in the task file's connections are relative to the file; a typed one is relative to the current folder.
      const baseDir = connection === undefined ? undefined : process.cwd()
      const task =
        args.taskFile === undefined
          ? remoteTask(args.task, withoutUndefined({ server, connection, queue }))
          : await definedTask(args.task, args.taskFile, baseDir)
      const overrides = withoutUndefined({ server, connection, delayMs: delay, expiresMs: expires, priority })
      // A task file declares the task, so its worker may start later.
      const warnUnlessDeclared = async (into: string): Promise<void> => {
        if (args.taskFile === undefined) await warnIfUnserved({ server, connection, json }, into)
      }
      const input = data === undefined || data === '-' ? undefined : parseJson(data, 'the data')
      if (input !== undefined && !Array.isArray(input)) {
        const { id, queue: into } = await task.submit(input, overrides)
        print(json, { id, task: task.name, queue: into }, () => `Submitted ${id} to ${into}.`)
        await warnUnlessDeclared(into)
        return
      }
      if (input?.length === 0)
        throw new UsageError('the list is empty', 'To submit a job whose data is a list, pipe it as a JSON line.')
      const stored =
        input === undefined
          ? await submitLines(task, overrides)
          : (await task.submit(input, { ...overrides, batch: true })).length
      print(
        json,
        { task: task.name, queue: task.queue, stored },
        () => `Submitted ${plural(stored, 'job')} to ${task.queue}.`,
      )
      await warnUnlessDeclared(task.queue)
    },
  )
}

async function definedTask(name: string, file: string, baseDir: string | undefined): Promise<Task> {
  const tasks = await importTaskFile(await openTaskFile(file), baseDir)
  const task = tasks.find((candidate) => candidate.name === name)
  if (task !== undefined) return task
  const near = suggest(
    name,
    tasks.map((candidate) => candidate.name),
  )
  const hint = near === undefined ? '' : `; did you mean "${near}"?`
  throw new ConfigError('ZYQ_TASK_UNKNOWN', `${file} defines no task "${name}"${hint}`)
}
