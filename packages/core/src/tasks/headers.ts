import { Buffer } from 'node:buffer'
import { z } from 'zod'
import { parseOptions } from '../parse-options.ts'

/** The maximum size of the names and values together, in bytes. RabbitMQ accepts 128 KiB, with the headers of core. */
const MAX_HEADER_BYTES = 32 * 1024
const NAME = /^(?!zyq-)[!-@[-~]+$/

/** The headers of a submission. */
export const headersSchema: z.ZodType<Readonly<Record<string, string>>> = z.custom<Readonly<Record<string, string>>>(
  (value: unknown) => faultOf(value) === undefined,
  { error: ({ input }) => faultOf(input) ?? '' },
)

const addedSchema = z.object({ headers: headersSchema })

/** Throws `ConfigError` (`ZYQ_CONFIG`) if a middleware or a subscriber added a header that no job may have. */
export function checkAddedHeaders(headers: Readonly<Record<string, string>>): void {
  parseOptions(addedSchema, { headers }, 'a header of a middleware')
}

function faultOf(headers: unknown): string | undefined {
  if (typeof headers !== 'object' || headers === null || Array.isArray(headers)) return 'expected names with texts'
  let bytes = 0
  for (const [name, value] of Object.entries(headers)) {
    if (!NAME.test(name)) return 'header names are lower case ASCII and do not begin with zyq-'
    // Most programs lose this name when they copy an object.
    if (name === '__proto__') return 'no header can have the name __proto__'
    if (typeof value !== 'string') return `the header ${name} is not a text`
    bytes += name.length + Buffer.byteLength(value)
    if (bytes > MAX_HEADER_BYTES) {
      return `names and values have more than ${MAX_HEADER_BYTES} bytes. Send large values as data`
    }
  }
  return undefined
}
