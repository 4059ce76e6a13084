/** Findings about the settings of a server and the rights of the user that connects to it. */
import type { Finding } from '@zyqueue/core/broker'
import { grant, REQUIREMENTS, ROLES, type Rights } from '../connection/rights.ts'
import type { Servers } from '../connection/servers.ts'

/** The oldest version that this broker supports. */
const OLDEST = [6, 2] as const

/** Missing rights are notes, because they may be intended. If they delay workers, the finding is a warning. */
export async function rightsFindings({ user, keys }: Servers, rights: Rights): Promise<readonly Finding[]> {
  const findings: Finding[] = []
  const late = new Set<string>()
  for (const role of ROLES) {
    const missing = await rights.missing(role, [keys.of('zyqueue')])
    if (missing === undefined) {
      const message = `Cannot check the rights of the user ${user}: the server is older than Redis 7.0 or refuses ACL DRYRUN`
      return [{ level: 'note', message, remedy: grant(user, ['+acl|dryrun']) }]
    }
    if (missing.rules.length > 0) {
      const message = `The user ${user} may not ${REQUIREMENTS[role].does}`
      findings.push({ level: 'note', message, remedy: grant(user, [...missing.rules, ...missing.hints]) })
    } else for (const rule of missing.hints) late.add(rule)
  }
  if (late.size === 0) return findings
  const message = `The user ${user} may not wake workers or be woken: a waiting worker sees a job up to one second late`
  return [...findings, { level: 'warning', message, remedy: grant(user, [...late]) }]
}

/** Reads the reply of `INFO`, because managed servers refuse `CONFIG`. */
export function settingsFindings(info: ReadonlyMap<string, string>): readonly Finding[] {
  return [version(info), eviction(info), persistence(info)].filter((finding) => finding !== undefined)
}

function version(info: ReadonlyMap<string, string>): Finding | undefined {
  const text = info.get('redis_version') ?? ''
  const [major = 0, minor = 0] = text.split('.').map(Number)
  if (major > OLDEST[0] || (major === OLDEST[0] && minor >= OLDEST[1])) return undefined
  return {
    level: 'problem',
    message: `Redis ${text} is older than ${OLDEST.join('.')} and lacks commands that this broker uses`,
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
      message: `maxmemory-policy is ${policy}: when memory is full, Redis may delete the ids of stored jobs, and a repeated submit is then stored twice. Jobs are kept`,
      remedy,
    }
  }
  return {
    level: 'problem',
    message: `maxmemory-policy is ${policy}: Redis deletes jobs without an error when its memory is full`,
    remedy,
  }
}

function persistence(info: ReadonlyMap<string, string>): Finding | undefined {
  if (info.get('aof_enabled') === '0') {
    return {
      level: 'warning',
      message: 'The append-only file is off: when the server stops, all jobs since its last snapshot are lost',
      remedy: 'CONFIG SET appendonly yes, and the same in redis.conf',
    }
  }
  if (info.get('aof_last_write_status') === 'err' || info.get('aof_last_bgrewrite_status') === 'err') {
    return {
      level: 'problem',
      message: 'The server cannot write its append-only file',
      remedy: 'Check its log and the free space on its disk',
    }
  }
  return undefined
}
