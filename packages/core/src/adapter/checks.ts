import type { OutboundMessage } from '../contract/message.ts'
import { BrokerError, ConfigError } from '../errors.ts'
import { suggestOption } from '../option-names.ts'

const MAX_ID_CHARACTERS = 63
const MESSAGE_ID = /^[\x21-\x7e]+$/

/** Throws `ConfigError` (`ZYQ_UNSUPPORTED`) if an option is not `known`. */
export function refuseUnknownOptions(
  title: string,
  options: Readonly<Record<string, unknown>> = {},
  known: readonly string[] = [],
): void {
  const name = Object.keys(options).find((key) => !known.includes(key))
  if (name === undefined) return
  const has = known.length === 0 ? 'has no options of its own' : `knows ${known.join(', ')}`
  throw new ConfigError(
    'ZYQ_UNSUPPORTED',
    `The ${title} broker has no option "${name}": it ${has}${suggestOption(name, known)}`,
  )
}

/** The error of a message with an invalid id, or a body above `maxBodyBytes`. */
export function faultOf(
  title: string,
  { id, body }: Pick<OutboundMessage, 'id' | 'body'>,
  maxBodyBytes: number,
): ConfigError | BrokerError | undefined {
  if (id.length > MAX_ID_CHARACTERS || !MESSAGE_ID.test(id)) {
    return new ConfigError('ZYQ_CONFIG', `A message id has 1 to ${MAX_ID_CHARACTERS} printable ASCII characters`)
  }
  if (body.byteLength <= maxBodyBytes) return undefined
  const text = `The job has ${body.byteLength} bytes; the ${title} broker takes ${maxBodyBytes}`
  return new BrokerError('ZYQ_BODY_TOO_LARGE', text)
}
