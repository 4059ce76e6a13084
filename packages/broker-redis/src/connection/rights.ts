/** The ACL rights that a producer, a worker and an operator need, and the check for rights that a user lacks. */
import { BrokerError } from '@zyqueue/core/broker'
import type { Argument } from './client.ts'
import { ServerError } from '../errors.ts'
import type { QueueKeys } from '../keys.ts'
import { text } from './replies.ts'
import type { Script } from '../scripts/script.ts'
import * as admin from '../scripts/admin.ts'
import { claim } from '../scripts/claim.ts'
import * as lease from '../scripts/lease.ts'
import { publish } from '../scripts/publish.ts'
import * as settle from '../scripts/settle.ts'
import type { Servers } from './servers.ts'

export const ROLES = ['producer', 'worker', 'operator'] as const
export type Role = (typeof ROLES)[number]

interface Requirements {
  readonly does: string
  readonly scripts: readonly Script[]
  /** Commands that are sent outside scripts, after the connection setup. */
  readonly commands: readonly string[]
  /** Optional commands. Without them, a waiting worker sees a job up to one second late. */
  readonly hints: readonly string[]
}

export const REQUIREMENTS: Readonly<Record<Role, Requirements>> = {
  producer: {
    does: 'submit jobs',
    scripts: [lease.declareQueues, publish],
    commands: [],
    hints: [],
  },
  worker: {
    does: 'run jobs',
    scripts: [...Object.values(lease), claim, ...Object.values(settle)],
    commands: ['HDEL', 'HGET', 'HGETALL'],
    hints: ['SUBSCRIBE', 'UNSUBSCRIBE'],
  },
  operator: {
    does: 'manage queues',
    scripts: [...Object.values(admin), lease.endLease],
    commands: ['HDEL', 'HGETALL', 'INFO', 'SCAN', 'SISMEMBER', 'SMEMBERS', 'ZCARD'],
    hints: [],
  },
}

/** `ACL DRYRUN` checks the number of arguments. These commands have none after the key, or two; all others have one. */
const NO_ARGUMENT = 'EXISTS HGETALL HLEN INCR LLEN SMEMBERS SPOP TYPE UNLINK ZCARD'.split(' ')
const TWO_ARGUMENTS =
  'GETRANGE HSET LRANGE LREM LTRIM SETRANGE ZADD ZCOUNT ZRANGE ZRANGEBYSCORE ZREMRANGEBYRANK ZREVRANGE'.split(' ')

/** Rules for `ACL SETUSER` that add what a user lacks. */
export interface Missing {
  readonly rules: readonly string[]
  /** Optional rules. Without them, a waiting worker sees a job up to one second late. */
  readonly hints: readonly string[]
}

/** The commands that a script runs. It continues if a command of `pcall` fails. */
export function commandsOf({ lua }: Script, call: 'call' | 'pcall'): readonly string[] {
  return [...lua.matchAll(/redis\.(p?call)\('(\w+)'/g)].flatMap(([, how, command]) =>
    how === call ? (command ?? []) : [],
  )
}

export class Rights {
  readonly #servers: Servers
  readonly #checked = new Map<Role, Promise<void>>()

  constructor(servers: Servers) {
    this.#servers = servers
  }

  /**
   * Rejects with `ZYQ_AUTH` if the server reports that the user lacks a right that the role needs in these queues. Asks the
   * server once for each role, until `forget` is called.
   */
  need(role: Role, queues: () => readonly QueueKeys[]): Promise<void> {
    const known = this.#checked.get(role)
    if (known !== undefined) return known
    const checking = this.#check(role, queues())
    this.#checked.set(role, checking)
    checking.catch(() => this.#checked.delete(role))
    return checking
  }

  /** Must be called before each new connection, because the rights may have changed. */
  forget(): void {
    this.#checked.clear()
  }

  /**
   * Asks `ACL DRYRUN` in one round trip. Undefined if the server refuses the command: it exists since Redis 7.0, and the user
   * may lack the right to run it.
   */
  async missing(role: Role, queues: readonly QueueKeys[]): Promise<Missing | undefined> {
    const { scripts, commands, hints } = REQUIREMENTS[role]
    const [queue] = queues
    if (queue === undefined) return { rules: [], hints: [] }
    const dryRun = (wanted: readonly string[]): readonly (readonly Argument[])[] =>
      [...new Set(wanted)].map((name) => [name, ...this.#argumentsOf(name, queue)])
    const keys = [
      ...queues.map(({ ready }) => ready),
      this.#servers.keys.queues,
      ...(role === 'producer' ? [] : [this.#servers.keys.workers]),
    ]
    try {
      const [rules, late] = await Promise.all([
        this.#missingRules([
          ...dryRun([...scripts.flatMap((script) => commandsOf(script, 'call')), ...commands]),
          ...keys.map((key) => ['EVAL', '', 1, key]),
          ...keys.map((key) => ['EVALSHA', publish.sha, 1, key]),
        ]),
        this.#missingRules(dryRun([...scripts.flatMap((script) => commandsOf(script, 'pcall')), ...hints])),
      ])
      return { rules, hints: late.filter((rule) => !rules.includes(rule)) }
    } catch (error) {
      if (error instanceof ServerError) return undefined
      throw error
    }
  }

  async #check(role: Role, queues: readonly QueueKeys[]): Promise<void> {
    const missing = await this.missing(role, queues)
    if (missing === undefined || missing.rules.length === 0) return
    const { user } = this.#servers
    throw new BrokerError(
      'ZYQ_AUTH',
      `The Redis user ${user} may not ${REQUIREMENTS[role].does}: ${grant(user, [...missing.rules, ...missing.hints])}`,
    )
  }

  async #missingRules(commands: readonly (readonly Argument[])[]): Promise<readonly string[]> {
    const [client] = this.#servers.masters()
    const replies = await Promise.all(
      commands.map((command) => client.command('ACL', 'DRYRUN', this.#servers.user, ...command)),
    )
    return [...new Set(replies.flatMap((reply) => this.#ruleFor(text(reply))))].toSorted()
  }

  /** The reply is `OK`, or a sentence that names the command, the key or the channel that is not allowed. */
  #ruleFor(reply: string): readonly string[] {
    if (reply === 'OK') return []
    const command = /'([^']*)' command/.exec(reply)?.[1]
    if (command !== undefined) return [`+${command}`]
    return [reply.endsWith('channel') ? `&${this.#servers.keys.wake}*` : `~${this.#servers.keys.prefix}:*`]
  }

  #argumentsOf(command: string, queue: QueueKeys): readonly Argument[] {
    if (command === 'TIME' || command === 'INFO') return []
    if (command === 'SCAN') return [0]
    if (command === 'PUBLISH') return [this.#servers.keys.wake, '']
    if (command.endsWith('SUBSCRIBE')) return [this.#servers.keys.wake]
    if (NO_ARGUMENT.includes(command)) return [queue.ready]
    return TWO_ARGUMENTS.includes(command) ? [queue.ready, 0, 0] : [queue.ready, 0]
  }
}

/** The command that gives these rights to a user. */
export function grant(user: string, rules: readonly string[]): string {
  return `ACL SETUSER ${user} ${rules.join(' ')}`
}
