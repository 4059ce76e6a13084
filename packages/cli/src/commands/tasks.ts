import type { Argv } from 'yargs'
import { nameErrors, NEEDED_TASK_FILE, type GlobalArgs } from '../options.ts'
import { print } from '../output.ts'
import { redactConnection } from '../redact.ts'
import { table } from '../table.ts'
import { importTaskFile, openTaskFile } from '../task-file/index.ts'

/** `--json`: `{ taskFile, tasks: [{ name, queue, server, connection }] }`; connections are without secrets. */
export function tasksCommand(cli: Argv<GlobalArgs>): Argv<GlobalArgs> {
  return cli.command(
    'tasks',
    'List the tasks that a file defines',
    (command) =>
      command.options(nameErrors({ 'task-file': NEEDED_TASK_FILE })).example('$0 tasks --task-file tasks.ts', ''),
    async (args) => {
      const taskFile = await openTaskFile(args.taskFile)
      const tasks = (await importTaskFile(taskFile)).map(({ name, queue, options: { server, connection } }) => ({
        name,
        queue,
        server: typeof server === 'object' ? server.name : server,
        connection: connection === undefined ? undefined : redactConnection(connection),
      }))
      print(args.json, { taskFile: taskFile.path, tasks }, () =>
        table(tasks, {
          task: (task) => task.name,
          queue: (task) => task.queue,
          server: (task) => task.server,
          connection: (task) => task.connection,
        }),
      )
    },
  )
}
