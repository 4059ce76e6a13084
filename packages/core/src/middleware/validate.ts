import type { StandardSchemaV1 } from '@standard-schema/spec'
import { validate as validateData } from '../messages/schema.ts'
import type { RunMiddleware } from './middleware.ts'

/** Validates `job.data` with a Standard Schema at receipt, because other programs may submit to the queue. */
export function validate(schema: StandardSchemaV1): RunMiddleware {
  return async ({ job }, next) => {
    job.data = await validateData(schema, job.data, `The data of job ${job.id}`)
    return next()
  }
}
