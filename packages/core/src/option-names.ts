import type { CallOptions } from './producer/call.ts'
import type { SubmitManyOptions } from './producer/submit-stream.ts'
import { suggest } from './suggest.ts'
import type { SubmitOptions, TaskOptions } from './tasks/options.ts'

type OptionName = keyof TaskOptions | keyof SubmitOptions | keyof SubmitManyOptions | keyof CallOptions | 'data'

/** The options of tasks and submits that core reads. All others are options of the broker. */
const NAMES: Readonly<Record<OptionName, true>> = {
  name: true,
  server: true,
  connection: true,
  queue: true,
  data: true,
  retries: true,
  timeoutMs: true,
  expiresMs: true,
  readyAtMs: true,
  hardTimeoutMs: true,
  priority: true,
  maxDeliveries: true,
  maxPostponeMs: true,
  middleware: true,
  hooks: true,
  delayMs: true,
  headers: true,
  batch: true,
  signal: true,
  onProgress: true,
  onData: true,
  onWarning: true,
}

/** A sentence that suggests a similar option of core or the broker, or an empty text. */
export function suggestOption(name: string, ofBroker: readonly string[]): string {
  const near = suggest(name, [...Object.keys(NAMES), ...ofBroker])
  return near === undefined ? '' : `. Did you mean "${near}"?`
}
