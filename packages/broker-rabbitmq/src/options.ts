/// <reference types="@zyqueue/core" preserve="true" />
import { ConfigError, type QueueSpec } from '@zyqueue/core/broker'
import { z } from 'zod'

export type QueueType = 'quorum' | 'classic'
export type ExchangeType = 'direct' | 'topic' | 'fanout' | 'headers'

/** The options of a task or a submission that only RabbitMQ knows. */
export interface RabbitTaskOptions {
  /** Publish to this exchange, and bind the queue to it. Without `queue` each worker then has a temporary queue of its own. Default: the default exchange. */
  readonly exchange?: string
  /** Default: `direct`. */
  readonly exchangeType?: ExchangeType
  /**
   * What jobs are published with, each key once, and what the queue is bound by: a list, or one string with commas.
   * For a `headers` exchange each is `header=value`. Default: the queue's name.
   */
  readonly routingKeys?: string | readonly string[]
  /** Default: `quorum`, or what `queueType=` of the connection says. */
  readonly queueType?: QueueType
  /** Arguments of the queue's declaration, over ours; `null` takes one of ours away. */
  readonly arguments?: Readonly<Record<string, string | number | boolean | null>>
  /** The topology is somebody else's: nothing is declared, and what is missing is an error. Default: false. */
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

/** Where jobs go in: the default exchange has the empty name, and takes the queue's name for a key. */
export interface Route {
  readonly exchange: string
  readonly exchangeType: ExchangeType
  readonly routingKeys: readonly string[]
}

/** A queue with its options, checked. */
export interface Plan {
  readonly name: string
  readonly route: Route
  /** Each worker has a queue of its own that ends with it: an exchange is given, and nobody chose a queue. */
  readonly temporary: boolean
  readonly queueType: QueueType
  readonly arguments: Readonly<Record<string, string | number | boolean>>
  readonly passive: boolean
}

/**
 * More than any job's deliveries: poison jobs are core's to judge, by its `maxDeliveries`. From 4.0 on a quorum queue
 * would drop a job after 20 by itself.
 */
export const NO_DELIVERY_LIMIT = 1_000_000
/** The longest that RabbitMQ takes, nearly 25 days: jobs may run for longer than its half an hour. Known from 3.12 on. */
export const NO_CONSUMER_TIMEOUT_MS: number = 2 ** 31 - 1
/** Of a classic queue that says nothing else: core's priorities, 0 to 9. */
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

/** The way of one submission, whose options go over its queue's. Throws `ConfigError` (`ZYQ_CONFIG`). */
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

/** The headers that a `headers` exchange looks at. Throws `ConfigError` (`ZYQ_CONFIG`). */
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
 * Where a queue's delayed jobs arrive. A queue that refuses jobs when it is full would refuse them, too, and the server offers such
 * a job again after three minutes only. So it has another queue for them, without a limit: they were taken in before.
 */
export function dueQueueOf(plan: Plan): string {
  return hasDueQueue(plan) ? dueNameOf(plan.name) : plan.name
}

/** Whether its delayed jobs arrive in a queue of their own. */
export function hasDueQueue({ arguments: given, temporary, passive }: Plan): boolean {
  const isLimited = 'x-max-length' in given || 'x-max-length-bytes' in given
  const refuses = String(given['x-overflow']).startsWith('reject-publish')
  // Two queues would have two active consumers.
  const hasOneConsumer = given['x-single-active-consumer'] === true
  return isLimited && refuses && !hasOneConsumer && !temporary && !passive
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

/** How many of core's ten priorities a queue of these arguments tells apart. */
export function prioritiesOf({ queueType, arguments: given }: Plan): number {
  const most = given['x-max-priority']
  // A quorum queue of 4.x has two, mixed two to one, and those of 3.x none: nothing that could be relied on.
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
