import { CodecError, SubmitError, type Task } from '@zyqueue/core'
import { IncompleteError } from './incomplete-error.ts'
import { NdjsonReader } from './ndjson.ts'
import { plural } from './output.ts'
import { Progress } from './progress.ts'
import { exitBySignal, handleSignals, signalExitCode } from './signals.ts'
import { UsageError } from './usage-error.ts'

type StreamOptions = NonNullable<Parameters<Task['submitMany']>[1]>

/**
 * Submits each line of standard input as one job, as one stream that is read no faster than the broker stores. Resolves to
 * the number of jobs, at least one. If a line is invalid, or on SIGINT or SIGTERM, the jobs before it are stored first; then it
 * rejects with `IncompleteError`, or with `UsageError` or `CodecError` if no job was stored. It rejects with `SubmitError` if
 * the broker did not store all jobs.
 */
export async function submitLines(task: Task, options: StreamOptions): Promise<number> {
  const lines = new NdjsonReader(process.stdin)
  const bar = new Progress()
  let last = { submitted: 0, stored: 0 }
  using _signals = onSignals((signal) => process.stdin.destroy(new Interruption(signal)))
  try {
    const { length } = await task.submitMany(lines, {
      ...options,
      onProgress: (progress) => {
        last = progress
        bar.update(progress)
      },
    })
    // An empty pipe is probably a mistake, and without an error the user would not notice that no job was submitted.
    if (length === 0)
      throw new UsageError('standard input is empty', 'To submit a job without data, pass null as its data.')
    last = { submitted: length, stored: length }
    return length
  } catch (error) {
    if (error instanceof SubmitError) {
      const { stored, refused, unknown } = error
      last = { submitted: stored.length + refused.length + unknown.length, stored: stored.length }
    }
    throw explain(error, lines.line)
  } finally {
    if (last.submitted > 0) bar.end(last)
  }
}

class Interruption extends Error {
  override readonly name = 'Interruption'
  readonly signal: NodeJS.Signals

  constructor(signal: NodeJS.Signals) {
    super(`interrupted by ${signal}`)
    this.signal = signal
  }

  /** The convention of shells: 130 for SIGINT. */
  get exitCode(): number {
    return signalExitCode(this.signal)
  }
}

/** Passes the first signal on; the second ends the process. */
function onSignals(notify: (signal: NodeJS.Signals) => void): Disposable {
  let interrupted = false
  // After the last line no other listener is left for the error that destroys standard input.
  process.stdin.on('error', () => {})
  return handleSignals((signal) => {
    if (interrupted) exitBySignal(signal)
    interrupted = true
    notify(signal)
  })
}

/** Adds the number of the line, the number of jobs stored before it, and how to submit the rest. */
function explain(error: unknown, line: number): unknown {
  const partial = error instanceof SubmitError
  // The broker did not store all jobs; the error lists them.
  if (partial && error.refused.length + error.unknown.length > 0) return error
  const stored = partial ? error.stored.length : 0
  const cause = partial ? error.cause : error
  const interrupted = cause instanceof Interruption
  const failure = cause instanceof CodecError ? atLine(cause, line) : cause
  if (stored === 0 && !interrupted) return failure

  const message = failure instanceof Error ? failure.message : String(failure)
  const rest = `Submit the lines from ${interrupted ? line + 1 : line} on: tail -n +${interrupted ? line + 1 : line}`
  return new IncompleteError(`${message}; ${plural(stored, 'job')} before it ${stored === 1 ? 'is' : 'are'} stored`, {
    stored,
    remedy: stored === 0 ? 'Submit it again.' : interrupted ? `${rest}.` : `Correct the line. ${rest}.`,
    ...(interrupted ? { exitCode: cause.exitCode } : {}),
    cause,
  })
}

function atLine({ code, message, cause }: CodecError, line: number): CodecError {
  return new CodecError(code, `line ${line} of standard input: ${message}`, { cause })
}
