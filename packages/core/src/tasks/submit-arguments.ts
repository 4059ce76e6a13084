import { LIST_SERVER } from '../connection/discovery.ts'
import { ConfigError } from '../errors.ts'
import type { JobData } from '../messages/json-data.ts'
import type { CallOptions } from '../producer/call.ts'
import type { JobHandle } from '../producer/job-handles.ts'
import type { BatchOptions, SubmitOptions } from './options.ts'

/** The arguments of `Task.submit` for one job. A list is not one job: it would be ambiguous. */
export type SubmitArguments<Data> = DataArguments<Data, OneJob<Data>, SubmitOptions>

/** The arguments of `Task.call`. */
export type CallArguments<Data> = DataArguments<Data, JobData<Data>, CallOptions>

/** A task without data needs no argument. */
type DataArguments<Data, Accepted, Options> = undefined extends Data
  ? [data?: Accepted, options?: Options]
  : null extends Data
    ? [data?: Accepted, options?: Options]
    : [data: Accepted, options?: Options]

type OneJob<Data> = 0 extends 1 & Data
  ? Data
  : Data extends readonly unknown[]
    ? 'A list needs submitMany, or submit(list, { batch: true })'
    : JobData<Data>

/** The form of the Python original: a task that is declared with `server: 'gearman'` submits a list as a batch. */
export interface ListTask<Data> {
  /** Submits a list of jobs as one batch, as with `{ batch: true }`. */
  submit(list: readonly JobData<Data>[], options?: SubmitOptions | BatchOptions): Promise<JobHandle[]>
}

/**
 * The list of a batch, or undefined for one job. Throws `ConfigError` (`ZYQ_CONFIG`) if the data is a list and the submit is
 * not a batch: data from outside, such as an HTTP body, must not become many jobs.
 */
export function batchOf(
  { name, server }: { readonly name: string; readonly server: unknown },
  data: unknown,
  batch: boolean | undefined,
): readonly unknown[] | undefined {
  if (!Array.isArray(data)) {
    if (batch !== true) return undefined
    throw new ConfigError('ZYQ_CONFIG', `submit: \`batch\` is true, but the data for ${name} is not a list.`)
  }
  if (!(batch ?? server === LIST_SERVER)) {
    throw new ConfigError(
      'ZYQ_CONFIG',
      `submit: the data for ${name} is a list. For one job per item, use submitMany(list) or submit(list, { batch: true }). ` +
        'For one job whose data is the list, use submitMany([list]).',
    )
  }
  refuseHoles(data, 'submit')
  return data
}

/** Throws `ConfigError` (`ZYQ_CONFIG`) if a list is sparse: a hole is not a job. */
export function refuseHoles(list: unknown, call: 'submit' | 'submitMany'): void {
  if (!Array.isArray(list)) return
  for (let index = 0; index < list.length; index++) {
    if (index in list) continue
    throw new ConfigError(
      'ZYQ_CONFIG',
      `${call}: the list has no item ${index}. Remove the hole, or set the item to null.`,
    )
  }
}
