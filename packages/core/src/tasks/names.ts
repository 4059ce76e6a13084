import { Buffer } from 'node:buffer'
import { ConfigError } from '../errors.ts'

// Every broker must be able to carry a name: AMQP accepts 255 bytes, Gearman's admin protocol accepts no white space, and
// adapters add prefixes.
const MAX_NAME_BYTES = 200
const UNFIT = /[\s\p{Cc}\p{Cf}\p{Cs}]/u

/** Throws `ConfigError` (`ZYQ_TASK_NAME`, `ZYQ_QUEUE_NAME`) if brokers cannot carry the name. */
export function checkName(what: 'task' | 'queue', name: string): void {
  const fault = faultOf(name)
  if (fault === undefined) return
  const code = what === 'task' ? 'ZYQ_TASK_NAME' : 'ZYQ_QUEUE_NAME'
  throw new ConfigError(code, `The ${what} name ${quote(name)} ${fault}.`)
}

function faultOf(name: string): string | undefined {
  if (name === '') return 'is empty'
  if (Buffer.byteLength(name) > MAX_NAME_BYTES) return `is longer than ${MAX_NAME_BYTES} bytes`
  if (UNFIT.test(name)) return 'contains white space or a control character'
  return undefined
}

function quote(name: string): string {
  return JSON.stringify(name.length > 40 ? `${name.slice(0, 40)}…` : name)
}
