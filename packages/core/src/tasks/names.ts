import { Buffer } from 'node:buffer'
import { ConfigError } from '../errors.ts'

// What every broker's names can carry: AMQP takes 255 bytes of them, Gearman's admin protocol no white space, and the
// adapters add prefixes of their own.
const MAX_NAME_BYTES = 200
const UNFIT = /[\s\p{Cc}\p{Cf}\p{Cs}]/u

/** Throws `ConfigError` (`ZYQ_TASK_NAME`, `ZYQ_QUEUE_NAME`) where the name is one that brokers cannot carry. */
export function checkName(what: 'task' | 'queue', name: string): void {
  const fault = faultOf(name)
  if (fault === undefined) return
  const code = what === 'task' ? 'ZYQ_TASK_NAME' : 'ZYQ_QUEUE_NAME'
  throw new ConfigError(code, `The ${what} name ${quote(name)} ${fault}.`)
}

function faultOf(name: string): string | undefined {
  if (name === '') return 'is empty'
  if (Buffer.byteLength(name) > MAX_NAME_BYTES) return `is longer than ${MAX_NAME_BYTES} bytes`
  if (UNFIT.test(name)) return 'has white space or a control character in it'
  return undefined
}

function quote(name: string): string {
  return JSON.stringify(name.length > 40 ? `${name.slice(0, 40)}…` : name)
}
