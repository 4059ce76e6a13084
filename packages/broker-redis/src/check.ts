/** What an operator should know of a server, from its `INFO`: managed servers refuse `CONFIG`. */
import type { Finding } from '@zyqueue/core/broker'

/** The oldest version that this broker is made for. */
const OLDEST = [6, 2] as const

export function findingsOf(info: ReadonlyMap<string, string>): readonly Finding[] {
  return [version(info), eviction(info), persistence(info)].filter((finding) => finding !== undefined)
}

function version(info: ReadonlyMap<string, string>): Finding | undefined {
  const text = info.get('redis_version') ?? ''
  const [major = 0, minor = 0] = text.split('.').map(Number)
  if (major > OLDEST[0] || (major === OLDEST[0] && minor >= OLDEST[1])) return undefined
  return {
    level: 'problem',
    message: `Redis ${text} is older than ${OLDEST.join('.')}, and lacks commands that this broker uses`,
    remedy: 'Update the server',
  }
}

function eviction(info: ReadonlyMap<string, string>): Finding | undefined {
  const policy = info.get('maxmemory_policy') ?? 'noeviction'
  if (policy === 'noeviction') return undefined
  const remedy = 'CONFIG SET maxmemory-policy noeviction, and the same in redis.conf'
  if (policy.startsWith('volatile-')) {
    return {
      level: 'warning',
      message: `maxmemory-policy is ${policy}: jobs stay, but when memory is full the ids of stored jobs may be forgotten, and a repeated submit stored twice`,
      remedy,
    }
  }
  return {
    level: 'problem',
    message: `maxmemory-policy is ${policy}: Redis deletes jobs, unseen, when its memory is full`,
    remedy,
  }
}

function persistence(info: ReadonlyMap<string, string>): Finding | undefined {
  if (info.get('aof_enabled') === '0') {
    return {
      level: 'warning',
      message: 'The append-only file is off: when the server ends, all jobs since its last snapshot are lost',
      remedy: 'CONFIG SET appendonly yes, and the same in redis.conf',
    }
  }
  if (info.get('aof_last_write_status') === 'err' || info.get('aof_last_bgrewrite_status') === 'err') {
    return {
      level: 'problem',
      message: 'The server could not write its append-only file',
      remedy: 'Look at its log, and at the room on its disk',
    }
  }
  return undefined
}
