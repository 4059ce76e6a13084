import type { StandardSchemaV1 } from '@standard-schema/spec'
import { validate as validateData } from '../messages/schema.ts'
import type { RunMiddleware } from './middleware.ts'

/** Checks `job.data` against a Standard Schema once more at receipt: others may submit to the queue too. */
export function validate(schema: StandardSchemaV1): RunMiddleware {
  return async ({ job }, next) => {
    job.data = await validateData(schema, job.data, `The data of job ${job.id}`)
    return next()
  }
}
