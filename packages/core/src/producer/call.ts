import { Buffer } from 'node:buffer'
import { backoffMs, pause, RECONNECT } from '../connection/backoff.ts'
import type { Connection } from '../connection/connection.ts'
import type { CallResult, JobUpdate, OutboundMessage, QueueSpec } from '../contract/index.ts'
import { ERROR_CODES, type CodeOf } from '../error-codes.ts'
import { BrokerError, ConfigError, JobError } from '../errors.ts'
import { keepAlive } from '../keep-alive.ts'
import { decodeData } from '../messages/envelope.ts'
import type { BrokerTaskOptions, Priority } from '../tasks/options.ts'

/** How long a call waits for an unavailable broker, in ms, if its `timeoutMs` is not shorter. */
const BROKER_TIMEOUT_MS = 10_000

/** Options of one call, which override those of its task. */
export interface CallOptions extends BrokerTaskOptions {
  /** How long to wait for the job's end, in ms. Default: unlimited. */
  readonly timeoutMs?: number
  /** Ends the wait. It does not stop a running job. */
  readonly signal?: AbortSignal
  readonly priority?: Priority
  readonly queue?: string
  readonly connection?: string
  /** Carried beside the data, for `job.headers`. */
  readonly headers?: Readonly<Record<string, string>>
  /** Called when the handler calls `job.progress(done, of)`. */
  readonly onProgress?: (done: number, of: number) => void
  /** Called when the handler calls `job.send(data)`, in this order. */
  readonly onData?: (data: unknown) => void
  /** Called when the handler calls `job.warn(text)`. */
  readonly onWarning?: (text: string) => void
}

/** The listeners of a call in progress. */
export type CallListeners = {
  readonly [Key in 'timeoutMs' | 'signal' | 'onProgress' | 'onData' | 'onWarning']: CallOptions[Key] | undefined
}

/** See `Task.call`. */
export async function callJob(
  connection: Connection,
  queue: QueueSpec,
  message: OutboundMessage,
  listeners: CallListeners,
): Promise<unknown> {
  const release = keepAlive()
  const end = new AbortController()
  const timer =
    listeners.timeoutMs === undefined
      ? undefined
      : setTimeout(() => end.abort(timeoutError(message, listeners.timeoutMs)), listeners.timeoutMs)
  const onAbort = (): void => end.abort(listeners.signal?.reason)
  listeners.signal?.addEventListener('abort', onAbort)
  try {
    if (listeners.signal?.aborted === true) onAbort()
    end.signal.throwIfAborted()
    return resultOf(connection, await untilSent(connection, queue, message, listeners, end))
  } finally {
    clearTimeout(timer)
    listeners.signal?.removeEventListener('abort', onAbort)
    release()
  }
}

/** Retries until its timeout if nothing was sent: the broker may come back. */
async function untilSent(
  connection: Connection,
  queue: QueueSpec,
  message: OutboundMessage,
  listeners: CallListeners,
  end: AbortController,
): Promise<CallResult> {
  const since = performance.now()
  for (let tries = 0; ; tries++) {
    try {
      await connection.declare([queue])
      const { broker } = connection
      if (broker.calls === undefined) throw callsUnsupported(broker.name)
      const onUpdate = (update: JobUpdate): void => passOn(update, listeners, end)
      return await broker.calls.call(message, { signal: end.signal, onUpdate })
    } catch (thrown) {
      end.signal.throwIfAborted()
      if (thrown instanceof ConfigError) throw thrown
      const error = connection.wrap(thrown)
      if (!error.retryable || !connection.everOpen || performance.now() - since > BROKER_TIMEOUT_MS) throw error
      await pause(backoffMs(RECONNECT, tries), end.signal)
      end.signal.throwIfAborted()
    }
  }
}

/** Calls a listener. An error that it throws ends the call. */
function passOn(update: JobUpdate, { onProgress, onData, onWarning }: CallListeners, end: AbortController): void {
  try {
    if (update.kind === 'progress') onProgress?.(update.done, update.of)
    else if (update.kind === 'warning') onWarning?.(update.text)
    else onData?.(decodeReply(update.body))
  } catch (error) {
    end.abort(error)
  }
}

function resultOf(connection: Connection, result: CallResult): unknown {
  switch (result.status) {
    case 'done':
      return decodeReply(result.body)
    case 'failed':
      throw errorFrom(result.reason)
    case 'refused':
      throw connection.wrap(result.error)
    case 'unknown': {
      const cause = connection.wrap(result.error)
      const text = `The job may have run, or may still run: ${cause.message}`
      throw new BrokerError('ZYQ_OUTCOME_UNKNOWN', text, { cause })
    }
  }
}

/** Decodes a reply: undefined if it is empty, else JSON, else the text of a program that does not answer in JSON. */
function decodeReply(body: Uint8Array): unknown {
  if (body.byteLength === 0) return undefined
  try {
    return decodeData(body)
  } catch (error) {
    const text = Buffer.from(body.buffer, body.byteOffset, body.byteLength).toString()
    if (Buffer.from(text).equals(body)) return text
    throw error
  }
}

/** A reason from a ZyQueue worker starts with a code. Other programs may give any text. */
function errorFrom(reason: string | undefined): JobError {
  const [, code, message] = /^(ZYQ_[A-Z_]+): (.*)$/s.exec(reason ?? '') ?? []
  if (code !== undefined && message !== undefined && isJobCode(code)) return new JobError(code, message)
  return new JobError('ZYQ_JOB_FAILED', reason ?? 'The job failed. Its worker gave no reason.')
}

function isJobCode(code: string): code is CodeOf<'job'> {
  return (
    Object.hasOwn(ERROR_CODES, code) &&
    Object.entries(ERROR_CODES).some(([name, { kind }]) => name === code && kind === 'job')
  )
}

function timeoutError({ id }: OutboundMessage, ms: number | undefined): JobError {
  return new JobError('ZYQ_JOB_TIMEOUT', `The job ${id} did not end within ${ms} ms.`)
}

export function callsUnsupported(broker: string): ConfigError {
  return new ConfigError(
    'ZYQ_UNSUPPORTED',
    `The broker ${broker} cannot wait for the end of a job: use \`submit\`. \`zyqueue brokers\` lists the brokers that can.`,
  )
}
