/** Names the keys and the queue of a command or script that the server refused, and says what to do. */
import { BrokerError } from '@zyqueue/core/broker'
import type { ServerError } from '../errors.ts'
import type { Keys } from '../keys.ts'

/** Resolves to the type of a key as `TYPE` replies it. */
export type TypeOf = (key: string) => Promise<string>

/** What to do, by the first word of the reply. */
const REMEDIES: Readonly<Record<string, string>> = {
  OOM: 'Run more workers, raise maxmemory, or delete other keys of this Redis.',
  MISCONF: 'Give the disk of Redis room, or correct its permissions; the log of Redis has the reason.',
  NOREPLICAS: 'Start the replicas of this Redis, or lower min-replicas-to-write.',
  BUSY: 'Another script runs too long. End it with SCRIPT KILL or FUNCTION KILL.',
}

/** The error with the code of `error`. Asks `typeOf` for each key if one has a wrong type. Never rejects. */
export async function commandError(
  error: ServerError,
  keys: readonly string[],
  known: Keys,
  typeOf: TypeOf,
): Promise<BrokerError> {
  if (error.code === 'ZYQ_STORAGE_FOREIGN') {
    const wrong = await findWrongType(keys, known, typeOf)
    const what =
      wrong === undefined
        ? `A key has a wrong type (${placeOf(keys, known)})`
        : `The Redis key ${wrong.key}${ofQueue(wrong.key, known)} is a ${nameOf(wrong.actual)} instead of a ${nameOf(wrong.expected)}`
    const remedy = 'Another program wrote it. Rename or delete it, or give ZyQueue other keys with ?prefix=NAME.'
    return new BrokerError(error.code, `${what}. ${remedy}`, { cause: error })
  }
  const word = /\b(OOM|MISCONF|NOREPLICAS|BUSY)\b/.exec(error.message)?.[1] ?? ''
  const remedy = REMEDIES[word] ?? ''
  const text = `Redis refused it (${placeOf(keys, known)}): ${error.message}${remedy && ` ${remedy}`}`
  return new BrokerError(error.code, text, { cause: error })
}

interface WrongType {
  readonly key: string
  readonly actual: string
  readonly expected: string
}

async function findWrongType(keys: readonly string[], known: Keys, typeOf: TypeOf): Promise<WrongType | undefined> {
  try {
    for (const key of keys) {
      const expected = known.describe(key).type
      const actual = await typeOf(key)
      if (actual !== 'none' && actual !== expected) return { key, actual, expected }
    }
  } catch {
    // The user may not run TYPE, or the connection is lost.
  }
  return undefined
}

/** The queues and the key, or their common beginning. */
function placeOf(keys: readonly string[], known: Keys): string {
  const queues = [...new Set(keys.flatMap((key) => known.describe(key).queue ?? []))]
  const [key = '', ...others] = keys
  const where = others.length === 0 ? `key ${key}` : `keys ${key.slice(0, key.lastIndexOf(':'))}:*`
  if (queues.length === 0) return where
  const named = queues.slice(0, 3).map((queue) => `"${queue}"`)
  const more = queues.length > 3 ? ` and ${queues.length - 3} more` : ''
  return `queue ${named.join(', ')}${more}, ${where}`
}

function ofQueue(key: string, known: Keys): string {
  const { queue } = known.describe(key)
  return queue === undefined ? '' : ` of the queue "${queue}"`
}

function nameOf(type: string): string {
  return type === 'zset' ? 'sorted set' : type
}
