import type { BrokerChoice } from '../connection/discovery.ts'
import { ConfigError } from '../errors.ts'
import { CHOICE } from '../internals.ts'
import { registeredTasks } from '../tasks/registry.ts'
import type { AnyTask } from '../tasks/task.ts'
import type { WorkerOptions } from './options.ts'

/** The tasks that a worker runs. Throws `ConfigError` if there is none, or if the worker cannot run one of them. */
export function tasksOf(
  { queues, tasks = registeredTasks() }: Pick<WorkerOptions, 'queues' | 'tasks'>,
  isSupervised: boolean,
): readonly AnyTask[] {
  const served = queues === undefined ? tasks : tasks.filter((task) => queues.includes(task.queue))
  const unknown = queues?.filter((queue) => !tasks.some((task) => task.queue === queue)) ?? []
  if (unknown.length > 0) {
    const known = [...new Set(tasks.map((task) => task.queue))].join(', ')
    throw new ConfigError('ZYQ_CONFIG', `No task has the queue ${unknown.join(', ')}. Known queues: ${known}.`)
  }
  if (served.length === 0) throw new ConfigError('ZYQ_CONFIG', 'There is no task to run: define one with queueJob.')
  for (const task of served) {
    if (task.handler === undefined) {
      throw new ConfigError('ZYQ_CONFIG', `The task ${task.name} is a remote task: it has no handler.`)
    }
    if (task.options.hardTimeoutMs !== undefined && !isSupervised) {
      throw new ConfigError(
        'ZYQ_UNSUPPORTED',
        `The task ${task.name} has a hard timeout, which only a supervisor can enforce: run it with \`zyqueue work\`, or use \`timeoutMs\`.`,
      )
    }
  }
  return served
}

/** Groups tasks by broker and connection. */
export function groupByBroker(tasks: readonly AnyTask[]): Map<BrokerChoice, AnyTask[]> {
  const groups = new Map<BrokerChoice, AnyTask[]>()
  for (const task of tasks) {
    const { server, connection } = task[CHOICE]
    const known = [...groups.keys()].find((choice) => choice.server === server && choice.connection === connection)
    const choice = known ?? task[CHOICE]
    groups.set(choice, [...(groups.get(choice) ?? []), task])
  }
  return groups
}
