/// <reference types="@zyqueue/core" preserve="true" />
import { ConfigError, type QueueSpec } from '@zyqueue/core/broker'
import { z } from 'zod'

export type QueueType = 'quorum' | 'classic'
export type ExchangeType = 'direct' | 'topic' | 'fanout' | 'headers'

/** Options of a task or a submission that only this broker has. */
export interface RabbitTaskOptions {
  /** Publish to this exchange, and bind the queue to it. Without `queue` each worker then has its own temporary queue. Default: the default exchange. */
  readonly exchange?: string
  /** Default: `direct`. */
  readonly exchangeType?: ExchangeType
  /**
   * The keys that jobs are published with and the queue is bound with: a list, or one string with commas. A job is published
   * once for each key. For a `headers` exchange each is `header=value`. Default: the queue's name.
   */
  readonly routingKeys?: string | readonly string[]
  /** Default: `quorum`, or what `queueType=` of the connection says. */
  readonly queueType?: QueueType
  /** Arguments of the queue's declaration. They replace the defaults; `null` removes one. */
  readonly arguments?: Readonly<Record<string, string | number | boolean | null>>
  /** The queue and its exchange belong to another program: they are not declared, and must exist. Default: false. */
  readonly passive?: boolean
}

declare module '@zyqueue/core' {
  interface BrokerTaskOptions extends RabbitTaskOptions {}
}

const MAX_NAME_BYTES = 255
const shortText = z.string().refine((text) => Buffer.byteLength(text) <= MAX_NAME_BYTES, 'longer than 255 bytes')

const routingKeys = z
  .union([z.string(), z.array(z.string())])
  .transform((keys) => (typeof keys === 'string' ? keys.split(',').map((key) => key.trim()) : keys))
  .pipe(z.array(shortText).min(1))

const routeShape = {
  exchange: shortText.min(1).optional(),
  exchangeType: z.enum(['direct', 'topic', 'fanout', 'headers']).optional(),
  routingKeys: routingKeys.optional(),
}

const queueSchema = z.strictObject({
  ...routeShape,
  queueType: z.enum(['quorum', 'classic']).optional(),
  arguments: z.record(shortText, z.union([z.string(), z.number(), z.boolean(), z.null()])).default({}),
  passive: z.boolean().default(false),
})

const submissionSchema = z.strictObject(routeShape)

/** Where jobs are published. The default exchange has an empty name and the queue's name as key. */
export interface Route {
  readonly exchange: string
  readonly exchangeType: ExchangeType
  readonly routingKeys: readonly string[]
}

/** A queue with its checked options. */
export interface Plan {
  readonly name: string
  readonly route: Route
  /** Each worker has its own queue, which ends with it: the task names an exchange and no queue. */
  readonly temporary: boolean
  readonly queueType: QueueType
  readonly arguments: Readonly<Record<string, string | number | boolean>>
  readonly passive: boolean
}

/**
 * More than any job has. Core decides about poison jobs, by its `maxDeliveries`. The default from 4.0 on is 20, after which a
 * quorum queue would drop the job.
 */
export const NO_DELIVERY_LIMIT = 1_000_000
/** The maximum, nearly 25 days: jobs may run for longer than the default of 30 minutes. Known from 3.12 on. */
export const NO_CONSUMER_TIMEOUT_MS: number = 2 ** 31 - 1
/** The default for classic queues: core's priorities, 0 to 9. */
const MAX_PRIORITY = 9

/** Throws `ConfigError` (`ZYQ_CONFIG`) that names the option. */
export function planOf({ name, unnamed = false, options }: QueueSpec, defaultType: QueueType): Plan {
  const { queueType = defaultType, arguments: given, passive, ...route } = check(queueSchema, options)
  const ours =
    queueType === 'quorum'
      ? { 'x-delivery-limit': NO_DELIVERY_LIMIT, 'x-consumer-timeout': NO_CONSUMER_TIMEOUT_MS }
      : { 'x-max-priority': MAX_PRIORITY, 'x-consumer-timeout': NO_CONSUMER_TIMEOUT_MS }
  return {
    name,
    route: routeOf(name, route),
    temporary: unnamed && route.exchange !== undefined,
    queueType,
    arguments: withoutNull({ 'x-queue-type': queueType, ...ours, ...given }),
    passive,
  }
}

/** The route of one submission, whose options replace those of its queue. Throws `ConfigError` (`ZYQ_CONFIG`). */
export function routeOfSubmission(queue: string, of: Route, options: Readonly<Record<string, unknown>>): Route {
  const { exchange, exchangeType, routingKeys: keys } = check(submissionSchema, options)
  if (exchange === undefined || exchange === of.exchange) {
    return { ...of, routingKeys: keys ?? of.routingKeys }
  }
  return routeOf(queue, { exchange, exchangeType, routingKeys: keys })
}

function routeOf(
  queue: string,
  { exchange = '', exchangeType = 'direct', routingKeys: keys }: z.infer<typeof submissionSchema>,
): Route {
  if (exchange === '' && keys !== undefined) {
    throw new ConfigError('ZYQ_CONFIG', 'RabbitMQ: routingKeys: without an exchange a queue’s name is its only key')
  }
  const fallback = exchangeType === 'headers' ? [] : [queue]
  const route: Route = { exchange, exchangeType, routingKeys: keys ?? fallback }
  if (exchangeType === 'headers') conditionsOf(route)
  return route
}

/** The headers by which a `headers` exchange routes. Throws `ConfigError` (`ZYQ_CONFIG`). */
export function conditionsOf({ routingKeys: keys }: Route): Readonly<Record<string, string>> {
  const pairs = keys.map((key) => {
    const equals = key.indexOf('=')
    if (equals < 1) {
      throw new ConfigError(
        'ZYQ_CONFIG',
        `RabbitMQ: routingKeys: for a headers exchange write header=value, not ${key}`,
      )
    }
    return [key.slice(0, equals), key.slice(equals + 1)] as const
  })
  return Object.fromEntries(pairs)
}

/**
 * The queue in which delayed jobs arrive. A full queue that refuses jobs would refuse these, too, and the server would repeat
 * them only after three minutes. So such a queue has another one for them, without a limit.
 */
export function dueQueueOf(plan: Plan): string {
  return hasDueQueue(plan) ? dueNameOf(plan.name) : plan.name
}

/** Whether delayed jobs arrive in another queue. */
export function hasDueQueue(plan: Plan): boolean {
  const { arguments: given, temporary, passive } = plan
  const isLimited = 'x-max-length' in given || 'x-max-length-bytes' in given
  const refuses = String(given['x-overflow']).startsWith('reject-publish')
  // Two queues would have two active consumers.
  return isLimited && refuses && !hasOneConsumer(plan) && !temporary && !passive
}

/** Whether the server sends jobs to one AMQP consumer only. */
export function hasOneConsumer({ arguments: given }: Plan): boolean {
  return given['x-single-active-consumer'] === true
}

/** The name of that other queue. */
export function dueNameOf(queue: string): string {
  return `${queue}.due`
}

/** Its arguments. */
export function withoutLimit({ arguments: given }: Plan): Plan['arguments'] {
  const limits = ['x-max-length', 'x-max-length-bytes', 'x-overflow']
  return Object.fromEntries(Object.entries(given).filter(([key]) => !limits.includes(key)))
}

/** How many levels core's ten priorities fall into. */
export function prioritiesOf({ queueType, arguments: given }: Plan): number {
  const most = given['x-max-priority']
  // A quorum queue of 4.x has two levels and delivers two high jobs for each normal one; of 3.x, none.
  return queueType === 'classic' && typeof most === 'number' ? Math.min(most, MAX_PRIORITY) + 1 : 1
}

function withoutNull(
  given: Readonly<Record<string, string | number | boolean | null>>,
): Readonly<Record<string, string | number | boolean>> {
  const kept: Record<string, string | number | boolean> = {}
  for (const [key, value] of Object.entries(given)) if (value !== null) kept[key] = value
  return kept
}

function check<Schema extends z.ZodType>(schema: Schema, options: unknown): z.infer<Schema> {
  const result = schema.safeParse(options)
  if (result.success) return result.data
  const faults = result.error.issues.map(({ path, message }) => `${path.join('.') || 'options'}: ${message}`)
  throw new ConfigError('ZYQ_CONFIG', `RabbitMQ: ${faults.join('; ')}`)
}
