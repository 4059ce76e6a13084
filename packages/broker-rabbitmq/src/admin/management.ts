import type { Finding } from '@zyqueue/core/broker'
import { z } from 'zod'
import type { Address } from '../connection/address.ts'

/** These figures are optional, so the wait is short. */
const ANSWER_TIMEOUT_MS = 1_500
/** The API is not asked again for this time after it did not answer. */
const SILENCE_MS = 60_000
/** The default ports of the management plugin. */
const PORTS = { http: 15_672, https: 15_671 } as const

/** Figures of RabbitMQ's management plugin, if it answers. No method rejects. */
export interface Management {
  /** Unacked messages of each queue of the virtual host, prefetched ones included. Some seconds old. */
  active(): Promise<ReadonlyMap<string, number> | undefined>
  /** Alarms, and those of our queues that may drop jobs. */
  findings(queues: ReadonlySet<string>): Promise<readonly Finding[]>
}

const queuesSchema = z.array(z.object({ name: z.string(), messages_unacknowledged: z.number().optional() }))
const definition = z.record(z.string(), z.unknown())
/** `effective_policy_definition` has the policy and the operator policy of the queue. */
const settingsSchema = z.array(
  z.object({ name: z.string(), arguments: definition.optional(), effective_policy_definition: definition.nullish() }),
)
const nodesSchema = z.array(
  z.object({ name: z.string(), mem_alarm: z.boolean().optional(), disk_free_alarm: z.boolean().optional() }),
)

export function createManagement(address: Address): Management {
  let silentUntil = 0

  async function get<Schema extends z.ZodType>(path: string, schema: Schema): Promise<z.infer<Schema> | undefined> {
    if (address.management === 'off' || performance.now() < silentUntil) return undefined
    try {
      const response = await fetch(new URL(path, baseOf(address)), {
        headers: {
          authorization: `Basic ${Buffer.from(`${address.username}:${address.password}`).toString('base64')}`,
        },
        signal: AbortSignal.timeout(ANSWER_TIMEOUT_MS),
      })
      if (!response.ok) throw new Error(`HTTP ${response.status}`)
      return schema.parse(await response.json())
    } catch {
      silentUntil = performance.now() + SILENCE_MS
      return undefined
    }
  }

  return {
    async active() {
      const vhost = encodeURIComponent(address.vhost)
      const queues = await get(`api/queues/${vhost}?columns=name,messages_unacknowledged`, queuesSchema)
      return queues && new Map(queues.map(({ name, messages_unacknowledged: active = 0 }) => [name, active]))
    },
    async findings(ours) {
      const vhost = encodeURIComponent(address.vhost)
      const columns = 'name,arguments,effective_policy_definition'
      const queues = (await get(`api/queues/${vhost}?columns=${columns}`, settingsSchema)) ?? []
      const nodes = (await get('api/nodes?columns=name,mem_alarm,disk_free_alarm', nodesSchema)) ?? []
      const alarms = nodes.flatMap(({ name, mem_alarm: memory, disk_free_alarm: disk }): Finding[] => {
        if (memory !== true && disk !== true) return []
        const what = memory === true ? 'memory' : 'disk space'
        return [
          {
            level: 'problem',
            message: `The node ${name} is short of ${what}: RabbitMQ accepts no messages`,
            remedy: `Give it ${what}, or run more workers`,
          },
        ]
      })
      return [...alarms, ...queues.filter(({ name }) => ours.has(name)).flatMap(dropsOf)]
    },
  }
}

/** Settings by which a queue drops jobs without a notice. */
function dropsOf({
  name,
  arguments: given = {},
  effective_policy_definition: policy,
}: z.infer<typeof settingsSchema>[number]): readonly Finding[] {
  const setting = (key: string): unknown => policy?.[key] ?? given[`x-${key}`]
  const isRefusing = String(setting('overflow')).startsWith('reject-publish')
  const drops = [
    ...(isRefusing ? [] : ['max-length', 'max-length-bytes']),
    'message-ttl',
    'expires',
    'delivery-limit',
  ].filter((key) => (key === 'delivery-limit' ? policy?.[key] : setting(key)) !== undefined)
  if (drops.length === 0) return []
  const values = drops.map((key) => `${key} ${String(setting(key))}`).join(', ')
  return [
    {
      level: 'problem',
      message: `The queue "${name}" drops jobs without a notice: ${values}`,
      remedy:
        'Remove these settings from its policy or arguments, or set overflow to reject-publish for a length limit',
    },
  ]
}

function baseOf({ management, tls, hosts }: Address): string {
  if (management !== undefined) return management.endsWith('/') ? management : `${management}/`
  const { hostname } = hosts[0]
  const scheme = tls ? 'https' : 'http'
  return `${scheme}://${hostname.includes(':') ? `[${hostname}]` : hostname}:${PORTS[scheme]}/`
}
