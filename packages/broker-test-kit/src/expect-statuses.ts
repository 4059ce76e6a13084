import assert from 'node:assert/strict'

/** A delivery or a message, as an error names it. */
export interface NamedJob {
  readonly id: string
  readonly queue: string
  readonly body: Uint8Array
}

interface Result {
  readonly status: string
  readonly error?: unknown
}

/** Each job must have a result with its expected status, in order. An error names the call, the index, the job and its queue. */
export function expectStatuses(
  call: string,
  jobs: readonly NamedJob[],
  results: readonly Result[],
  expected: string | readonly string[],
): void {
  for (const [index, job] of jobs.entries()) {
    const wanted = typeof expected === 'string' ? expected : expected[index]
    const { status = 'missing', error } = results[index] ?? {}
    const reason = error instanceof Error ? `: ${error.message}` : ''
    const place = `${call}: result ${index} of ${jobs.length}, of ${nameOf(job)}`
    assert.equal(status, wanted, `${place}, is ${status} instead of ${wanted}${reason}`)
  }
  assert.equal(results.length, jobs.length, `${call}: ${results.length} results for ${jobs.length} jobs`)
}

/** A job and its queue, for an error message. */
export function nameOf(job: NamedJob): string {
  const text = new TextDecoder().decode(job.body)
  const body = text.length > 40 ? `${text.slice(0, 40)}…` : text
  return `the job ${job.id} (${JSON.stringify(body)}) of the queue ${job.queue}`
}
