import type { StandardSchemaV1 } from '@standard-schema/spec'
import { CodecError } from '../errors.ts'

const MAX_ISSUES = 5

/**
 * Validates data with a Standard Schema. Returns a promise only if the schema is asynchronous. Throws or rejects with
 * `CodecError` (`ZYQ_VALIDATION`), whose message names the first five invalid fields.
 */
export function validate<Output>(
  schema: StandardSchemaV1<unknown, Output>,
  data: unknown,
  what: string,
): Output | Promise<Output> {
  const result = schema['~standard'].validate(data)
  return result instanceof Promise ? result.then((late) => accept(late, what)) : accept(result, what)
}

function accept<Output>(result: StandardSchemaV1.Result<Output>, what: string): Output {
  if (result.issues === undefined) return result.value
  const shown = result.issues.slice(0, MAX_ISSUES).map(describeIssue)
  const more = result.issues.length > MAX_ISSUES ? `; and ${result.issues.length - MAX_ISSUES} more` : ''
  throw new CodecError('ZYQ_VALIDATION', `${what} does not fit its schema: ${shown.join('; ')}${more}`)
}

function describeIssue({ path, message }: StandardSchemaV1.Issue): string {
  const keys = path?.map((part) => String(typeof part === 'object' ? part.key : part)) ?? []
  return keys.length === 0 ? message : `${keys.join('.')}: ${message}`
}
