import { z } from 'zod'
import { ConfigError, messageOf } from './errors.ts'
import { MAX_TIMER_MS } from './limits.ts'
import { suggest } from './suggest.ts'

/** A duration that `setTimeout` accepts, in ms. */
export const timerMs: z.ZodType<number> = z.int().positive().max(MAX_TIMER_MS)

/** Checks options against a schema. Throws `ConfigError` (`ZYQ_CONFIG`) that names each option that does not fit. */
export function parseOptions<Schema extends z.ZodType>(
  schema: Schema,
  options: unknown,
  call: string,
): z.infer<Schema> {
  const result = readOptions(call, () => schema.safeParse(options))
  if (result.success) return result.data
  const faults = result.error.issues.map((issue) => {
    const { path, message } = issue
    const [unknown] = issue.code === 'unrecognized_keys' && path.length === 0 ? issue.keys : []
    if (unknown !== undefined)
      return unknownOption(unknown, schema instanceof z.ZodObject ? Object.keys(schema.shape) : [])
    return `${path.join('.') || 'options'}: ${message}`
  })
  throw new ConfigError('ZYQ_CONFIG', `${call}: ${faults.join('; ')}`)
}

function unknownOption(name: string, known: readonly string[]): string {
  const near = suggest(name, known)
  return `there is no option "${name}"${near === undefined ? '' : `; did you mean "${near}"?`}`
}

/** Reads options. Throws `ConfigError` (`ZYQ_CONFIG`) if one of their getters throws. */
export function readOptions<Result>(call: string, read: () => Result): Result {
  try {
    return read()
  } catch (error) {
    throw new ConfigError('ZYQ_CONFIG', `${call}: the options cannot be read: ${messageOf(error)}`, { cause: error })
  }
}
