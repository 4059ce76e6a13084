import { relative } from 'node:path'
import { setImmediate as turn } from 'node:timers/promises'
import type { Argv } from 'yargs'
import { createLogger, LOG_LEVELS, type Logger } from '@zyqueue/core'
import type { Supervisor, SupervisorResult } from '@zyqueue/core/supervisor'
import {
  count,
  duration,
  withoutUndefined,
  list,
  nameErrors,
  size,
  NEEDED_TASK_FILE,
  TEXT,
  type GlobalArgs,
} from '../options.ts'
import { HERE } from '../broker.ts'
import { openLoggerFile } from '../logger-file.ts'
import { supervisorFor } from '../task-file/core.ts'
import { openTaskFile, type TaskFile } from '../task-file/index.ts'
import { noInputs, type Inputs } from '../task-file/inputs.ts'
import { watchTaskFile } from '../task-file/watch.ts'
import { EXIT } from '../exit-codes.ts'
import { print } from '../output.ts'
import { handleSignals } from '../signals.ts'

const LOG_FORMATS = ['pretty', 'json'] as const

const DRAINED = { reason: 'drained' } as const satisfies SupervisorResult

/** `--json`: `{ reason }` at the end, which is `drained`, `burst` or `stopped`; the log is JSON lines on standard error. */
export function workCommand(cli: Argv<GlobalArgs>): Argv<GlobalArgs> {
  return cli.command(
    'work',
    'Run the tasks of a file in several processes',
    (command) =>
      command
        .options(
          nameErrors({
            'task-file': NEEDED_TASK_FILE,
            'max-workers': { alias: 'w', ...count('Worker processes [default: one per CPU]', 1, 1_024) },
            concurrency: count('Jobs that each process runs at the same time [default: 10]', 1, 100_000),
            prefetch: count('Jobs that each process holds, running or prefetched [default: adaptive]', 1, 100_000),
            queues: list('Comma-separated queues to serve [default: the queues of all tasks]'),
            burst: { type: 'boolean', default: false, describe: 'Exit when the queues are empty' },
            watch: { type: 'boolean', default: false, describe: 'Restart the workers when a source file changes' },
            'grace-period': duration('Time for running jobs to finish after SIGTERM [default: 30s]'),
            lease: duration('Time until the jobs of a vanished host run elsewhere [default: 30s]', 100),
            'max-jobs-per-worker': count('Replace a process after this number of jobs [default: never]'),
            'max-memory-per-worker': size(
              'Replace a process that uses more memory than this, such as 512MB [default: never]',
            ),
            'log-level': { choices: LOG_LEVELS, default: 'info' as const, describe: 'Minimum log level' },
            'log-format': { choices: LOG_FORMATS, describe: '[default: pretty on a terminal, json otherwise]' },
            logger: {
              ...TEXT,
              conflicts: 'log-format',
              describe: 'File whose default export is a logger (pino, winston) or a function that makes one',
            },
          } as const),
        )
        .example('$0 work --task-file tasks.ts', 'One process per CPU, the embedded broker')
        .example('$0 work -f tasks.ts -w 4 --concurrency 20', 'More jobs at once, for jobs that mostly wait')
        .example('$0 work -f tasks.ts -C redis://localhost:6379', 'Redis, for tasks that name no broker')
        .example('$0 work -f tasks.ts --watch', 'For development')
        .example('$0 work -f tasks.ts --logger log.ts', 'Log with the logger of your application'),
    async (args) => {
      const format = args.logFormat ?? (args.json ? 'json' : undefined)
      const level = args.logLevel
      const builtIn = createLogger({ level, ...withoutUndefined({ format }) })
      using shutdown = new Shutdown(builtIn)
      if (process.pid === 1) {
        builtIn.warn(
          {},
          'this is process 1 of its container, and it does not remove ended processes that tasks leave behind: start the container with an init process (docker run --init)',
        )
      }
      const inputs = args.watch ? noInputs() : undefined
      const load = async () => {
        const taskFile = await openTaskFile(args.taskFile, inputs)
        const own = args.logger === undefined ? undefined : await openLoggerFile(args.logger, taskFile.path, level)
        const supervisor = await supervisorFor(taskFile.path)
        // A signal that came while modules were loaded is read in the next turn of the event loop.
        await turn()
        await turn()
        return { taskFile, own, ...supervisor }
      }
      const loaded = await Promise.race([load(), shutdown.requested])
      if (loaded === undefined) {
        if (args.json) print(true, DRAINED, () => DRAINED.reason)
        return
      }
      const { taskFile, own, createSupervisor } = loaded
      const logger = own?.logger ?? builtIn
      shutdown.logger = logger
      const loaderOf = (file: TaskFile): TaskFile['loader'] => (own === undefined ? file.loader : own.loaderFor(file))
      const supervisorOf = (file: TaskFile): Supervisor =>
        createSupervisor({
          taskFile: file.path,
          burst: args.burst,
          resolveFrom: [HERE],
          logger,
          workerLog: { level, ...withoutUndefined({ format, module: own?.path }) },
          ...withoutUndefined({
            loader: loaderOf(file),
            maxWorkers: args.maxWorkers,
            concurrency: args.concurrency,
            prefetch: args.prefetch,
            queues: args.queues,
            graceMs: args.gracePeriod,
            leaseMs: args.lease,
            maxJobsPerWorker: args.maxJobsPerWorker,
            maxMemoryPerWorker: args.maxMemoryPerWorker,
            server: args.server,
            connection: args.connection,
          }),
        })
      logger.info({ taskFile: relative('.', taskFile.path), pid: process.pid }, 'starting')

      const { reason, error } =
        inputs === undefined
          ? await shutdown.run(supervisorOf(taskFile))
          : await runWatched(taskFile, inputs, { logger, shutdown, supervisorOf, loaderOf })
      if (error !== undefined) throw error
      if (reason === 'stopped' || reason === 'failed') process.exitCode = EXIT.failed
      if (args.json) print(true, { reason }, () => reason)
    },
  )
}

interface WatchOptions {
  readonly logger: Logger
  readonly shutdown: Shutdown
  readonly supervisorOf: (taskFile: TaskFile) => Supervisor
  readonly loaderOf: (taskFile: TaskFile) => TaskFile['loader']
}

/** Restarts the workers when a source file changes, also after a change that made them fail. */
async function runWatched(
  first: TaskFile,
  inputs: Inputs,
  { logger, shutdown, supervisorOf, loaderOf }: WatchOptions,
): Promise<SupervisorResult> {
  let supervisor = supervisorOf(first)
  let changed: TaskFile | undefined
  let wake: (() => void) | undefined
  using _watch = watchTaskFile(first.path, inputs, logger, (taskFile) => {
    changed = taskFile
    if (wake === undefined) supervisor.reload(loaderOf(taskFile))
    else wake()
  })
  for (;;) {
    const result = await shutdown.run(supervisor)
    if (result.reason !== 'failed') return result
    // A change that came while the workers failed may have fixed the error.
    const what = changed === undefined ? 'waiting for a source file to change' : 'a source file has changed, restarting'
    logger.error({ err: result.error }, `the workers failed; ${what}`)
    if (changed === undefined) {
      await Promise.race([new Promise<void>((resolve) => (wake = resolve)), shutdown.requested])
      if (shutdown.isRequested) return DRAINED
    }
    wake = undefined
    supervisor = supervisorOf(changed ?? first)
    changed = undefined
  }
}

/** The first SIGTERM or SIGINT lets running jobs finish. The second stops the workers at once. */
class Shutdown implements Disposable {
  /** Resolves at the first signal. */
  readonly requested: Promise<undefined>
  logger: Logger
  readonly #signals: Disposable
  #resolve: (value: undefined) => void = () => {}
  #isRequested = false
  #supervisor: Supervisor | undefined

  constructor(logger: Logger) {
    this.logger = logger
    this.requested = new Promise((resolve) => {
      this.#resolve = resolve
    })
    this.#signals = handleSignals((signal) => this.#receive(signal))
  }

  get isRequested(): boolean {
    return this.#isRequested
  }

  async run(supervisor: Supervisor): Promise<SupervisorResult> {
    this.#supervisor = supervisor
    if (this.#isRequested) supervisor.drain()
    try {
      return await supervisor.run()
    } finally {
      this.#supervisor = undefined
    }
  }

  [Symbol.dispose](): void {
    this.#signals[Symbol.dispose]()
  }

  #receive(signal: NodeJS.Signals): void {
    if (this.#supervisor === undefined) {
      this.logger.info({ signal }, 'stopped; no worker was running')
    } else if (this.#isRequested) {
      this.logger.warn({ signal }, 'stopping now; running jobs go back to their queues')
      this.#supervisor.stop()
    } else {
      this.logger.info({ signal }, 'finishing the running jobs; send the signal again to stop now')
      this.#supervisor.drain()
    }
    this.#isRequested = true
    this.#resolve(undefined)
  }
}
