/** The kinds of error: configuration, broker, encoding, job. */
export type ErrorKind = 'config' | 'broker' | 'codec' | 'job'

interface ErrorCodeEntry {
  readonly kind: ErrorKind
  /** True if the same call may succeed later without a change. */
  readonly retryable: boolean
  /** What happened, as a sentence for `docs/errors.md`. */
  readonly cause: string
  /** How to fix it. */
  readonly remedy: string
}

/** Every code that ZyQueue's errors carry. `docs/errors.md` is generated from this table. */
export const ERROR_CODES = {
  ZYQ_CONFIG: {
    kind: 'config',
    retryable: false,
    cause: 'An option has an invalid value.',
    remedy: 'The message names the option and its valid values.',
  },
  ZYQ_CONNECTION_STRING: {
    kind: 'config',
    retryable: false,
    cause: 'The connection string does not have the form that its broker reads, or no broker reads its scheme.',
    remedy: 'Compare it with the forms in the message; name the broker with `server` if the scheme does not.',
  },
  ZYQ_UNSUPPORTED: {
    kind: 'config',
    retryable: false,
    cause: 'The broker does not support an option or a command.',
    remedy: 'Remove it, or use a broker that supports it; `zyqueue brokers` lists the installed brokers.',
  },
  ZYQ_TASK_NAME: {
    kind: 'config',
    retryable: false,
    cause: 'A task has no name, or brokers cannot carry its name.',
    remedy: 'Name the handler function or set `name`: 1 to 200 bytes without white space or control characters.',
  },
  ZYQ_QUEUE_NAME: {
    kind: 'config',
    retryable: false,
    cause: 'Brokers cannot carry a queue name.',
    remedy: 'Use 1 to 200 bytes without white space or control characters.',
  },
  ZYQ_TASK_DUPLICATE: {
    kind: 'config',
    retryable: false,
    cause: 'Two tasks of one process have the same name.',
    remedy: 'Rename one. If the same file is loaded twice, import it under one path only.',
  },
  ZYQ_TASK_UNKNOWN: {
    kind: 'config',
    retryable: false,
    cause: 'No task with this name is registered, or the given method is not a task.',
    remedy: 'Import the file that defines it; `zyqueue tasks --task-file F` lists what a file defines.',
  },
  ZYQ_TASK_FILE: {
    kind: 'config',
    retryable: false,
    cause: 'The task file could not be loaded, defines no task, or submits a job while it is loaded.',
    remedy: 'Fix the file at the position in the message or in the stack of the error; submit in another file.',
  },
  ZYQ_BROKER_NOT_FOUND: {
    kind: 'config',
    retryable: false,
    cause: 'The requested broker is not installed.',
    remedy: 'Install it with the command in the message, in the project of the task file.',
  },
  ZYQ_BROKER_API_VERSION: {
    kind: 'config',
    retryable: false,
    cause: 'The broker package was made for another version of the adapter contract.',
    remedy: 'Update the broker package or @zyqueue/core so that both use the same version.',
  },
  ZYQ_BROKER_EXPORTS: {
    kind: 'config',
    retryable: false,
    cause: 'A package was found, but it does not export a broker, or its `exports` map hides its entry.',
    remedy: 'Check the name. Authors: export the plugin as default and give the map a `default` condition.',
  },
  ZYQ_BROKER_LOAD: {
    kind: 'config',
    retryable: false,
    cause: 'The broker package threw while it was loaded.',
    remedy: 'Read the cause; reinstall the package if its installation is broken.',
  },
  ZYQ_UNREACHABLE: {
    kind: 'broker',
    retryable: true,
    cause: 'The broker could not be reached.',
    remedy: 'Start it, or correct host, port or path; `zyqueue doctor` tries each step.',
  },
  ZYQ_AUTH: {
    kind: 'broker',
    retryable: false,
    cause: 'The broker refused the credentials, or the file system refused access.',
    remedy: 'Check user, password and permissions.',
  },
  ZYQ_CONNECTION_LOST: {
    kind: 'broker',
    retryable: true,
    cause: 'The connection was lost before the call was sent.',
    remedy: 'Try again.',
  },
  ZYQ_OUTCOME_UNKNOWN: {
    kind: 'broker',
    retryable: false,
    cause: 'The connection was lost after the call was sent and before the answer: the broker may have executed it.',
    remedy: 'Submit again only if the job may run twice.',
  },
  ZYQ_BROKER_FULL: {
    kind: 'broker',
    retryable: true,
    cause: 'The broker has no room: its memory limit, its disk or a queue limit is reached.',
    remedy: 'Run more workers, purge, or give it more room.',
  },
  ZYQ_BROKER_BUSY: {
    kind: 'broker',
    retryable: true,
    cause: 'The broker did not answer in time, has no free connection, or its file stayed locked.',
    remedy: 'Try again; look for a process that holds the lock or connections, or for a host that is overloaded.',
  },
  ZYQ_BODY_TOO_LARGE: {
    kind: 'broker',
    retryable: false,
    cause: 'The encoded job is larger than the broker accepts.',
    remedy: 'Store the data elsewhere and submit a reference to it.',
  },
  ZYQ_UNROUTABLE: {
    kind: 'broker',
    retryable: false,
    cause: 'No queue accepts the job.',
    remedy: 'Start a worker that declares the queue, or correct the exchange and routing keys.',
  },
  ZYQ_TOPOLOGY: {
    kind: 'broker',
    retryable: false,
    cause: 'A queue or exchange exists already with other arguments.',
    remedy: 'Use the arguments of the one that exists, or another name.',
  },
  ZYQ_QUEUE_NOT_FOUND: {
    kind: 'broker',
    retryable: false,
    cause: 'The broker has no queue with this name.',
    remedy: '`zyqueue status` lists the queues.',
  },
  ZYQ_JOB_NOT_FOUND: {
    kind: 'broker',
    retryable: false,
    cause: 'No job with this id was found.',
    remedy: 'It may have run, or be running; `zyqueue jobs` and `zyqueue dead list` list the jobs.',
  },
  ZYQ_STORAGE_NOT_FOUND: {
    kind: 'broker',
    retryable: false,
    cause: 'There is no queue file at this path. Only a worker or a submit creates one.',
    remedy: 'Compare the path with the one that jobs are submitted to; relative ones start at the working directory.',
  },
  ZYQ_STORAGE_DAMAGED: {
    kind: 'broker',
    retryable: false,
    cause: 'The queue file is damaged. It was not changed.',
    remedy: 'Restore it from a backup, or move it away to start with an empty one.',
  },
  ZYQ_STORAGE_FOREIGN: {
    kind: 'broker',
    retryable: false,
    cause: 'Another program wrote the file or the key where the queue should be. It was not changed.',
    remedy: 'The message names it. Move or delete what is there, or give ZyQueue another path or prefix.',
  },
  ZYQ_STORAGE_VERSION: {
    kind: 'broker',
    retryable: false,
    cause: 'The queue was written by a newer version.',
    remedy: 'Update the broker package everywhere that opens it.',
  },
  ZYQ_LEASE_LOST: {
    kind: 'broker',
    retryable: false,
    cause: 'The worker lost its lease before it settled the job. Another worker has the job.',
    remedy: 'Nothing: the other worker runs the job. If it happens often, find out what blocks the process.',
  },
  ZYQ_CLOSED: {
    kind: 'broker',
    retryable: false,
    cause: 'The connection, producer or worker was closed.',
    remedy: 'Do not use it after close().',
  },
  ZYQ_SUBMIT_PARTIAL: {
    kind: 'broker',
    retryable: false,
    cause: 'Some jobs of a list were stored and some were not.',
    remedy: 'The error lists both. Submit the refused jobs again.',
  },
  ZYQ_BROKER: {
    kind: 'broker',
    retryable: false,
    cause: 'The broker answered with an error that has no code of its own.',
    remedy: 'The cause is the broker’s own error.',
  },
  ZYQ_ENCODE: {
    kind: 'codec',
    retryable: false,
    cause: 'JSON cannot carry the data: it has a cycle, or a part that JSON would drop or turn into `{}` or `null`.',
    remedy: 'Submit plain data. The message names the part, such as `data.tags[2]`, and what to send instead.',
  },
  ZYQ_DECODE: {
    kind: 'codec',
    retryable: false,
    cause: 'The body of a received message is not JSON in UTF-8, or its metadata is broken.',
    remedy: 'Look at it with `zyqueue dead list`; fix the program that sent it.',
  },
  ZYQ_VALIDATION: {
    kind: 'codec',
    retryable: false,
    cause: 'The data does not fit the schema of the task.',
    remedy: 'The message names each field and what was expected.',
  },
  ZYQ_JOB_FAILED: {
    kind: 'job',
    retryable: false,
    cause: 'The handler threw, and no retries are left.',
    remedy: 'The reason in the dead letter is the error; fix the handler and `zyqueue dead retry`.',
  },
  ZYQ_JOB_TIMEOUT: {
    kind: 'job',
    retryable: false,
    cause: 'The handler ran longer than its timeout.',
    remedy: 'Pass `job.signal` on to what the handler waits for, or raise the timeout.',
  },
  ZYQ_POSTPONE_LIMIT: {
    kind: 'job',
    retryable: false,
    cause: 'The handler postponed the job until later than `maxPostponeMs` after the first time.',
    remedy: 'Find out why the job is never ready, or raise `maxPostponeMs`; then `zyqueue dead retry`.',
  },
  ZYQ_JOB_EXPIRED: {
    kind: 'job',
    retryable: false,
    cause:
      'The job was older than the `expiresMs` of its submit, or would have been at its next attempt. It was not run.',
    remedy: 'Run more workers, or raise `expiresMs`. Submit the job again if it must still run.',
  },
  ZYQ_JOB_POISON: {
    kind: 'job',
    retryable: false,
    cause:
      'Deliveries of this job were lost as often as `maxDeliveries` allows: the worker died, or held the job too long.',
    remedy:
      'Look for what ends the process (out of memory, process.exit, a crash in native code), or exceeds the message timeout.',
  },
  ZYQ_WORKER_START: {
    kind: 'job',
    retryable: false,
    cause: 'Worker processes repeatedly ended before they were ready.',
    remedy: 'Read the last output of the worker.',
  },
} as const satisfies Record<string, ErrorCodeEntry>

export type ErrorCode = keyof typeof ERROR_CODES

/** The codes of one kind of error. */
export type CodeOf<Kind extends ErrorKind> = {
  [Code in ErrorCode]: (typeof ERROR_CODES)[Code]['kind'] extends Kind ? Code : never
}[ErrorCode]
