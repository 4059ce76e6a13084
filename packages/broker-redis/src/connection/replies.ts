/** Checks the types of replies, because another program may have written to the keys. */
import { BrokerError } from '@zyqueue/core/broker'

/** A reply of Redis. Strings are bytes. */
export type Reply = Buffer | number | null | readonly Reply[]

export function integer(reply: Reply | undefined): number {
  return typeof reply === 'number' ? reply : unexpectedReply('a number', reply)
}

export function bytes(reply: Reply | undefined): Buffer {
  return Buffer.isBuffer(reply) ? reply : unexpectedReply('bytes', reply)
}

export function text(reply: Reply | undefined): string {
  return bytes(reply).toString()
}

export function list(reply: Reply | undefined): readonly Reply[] {
  return isList(reply) ? reply : unexpectedReply('a list', reply)
}

/** The pairs of a hash, or of members and their scores. */
export function pairs(reply: Reply | undefined): readonly (readonly [Buffer, Buffer])[] {
  return chunks(list(reply), 2).map(([first, second]) => [bytes(first), bytes(second)])
}

export function chunks<T>(items: readonly T[], size: number): readonly (readonly T[])[] {
  return Array.from({ length: Math.ceil(items.length / size) }, (_, at) => items.slice(at * size, (at + 1) * size))
}

export function isList(reply: Reply | undefined): reply is readonly Reply[] {
  return Array.isArray(reply)
}

function unexpectedReply(expected: string, reply: Reply | undefined): never {
  const kind = reply === null ? 'nothing' : typeof reply
  throw new BrokerError('ZYQ_BROKER', `Redis replied with ${kind} instead of ${expected}`)
}
