import type { Broker, QueueSpec } from '../contract/index.ts'
import { ConfigError } from '../errors.ts'
import { NORMAL_PRIORITY, priorityLevel, type CheckedSubmitOptions, type CheckedTaskOptions } from './options.ts'

/** Throws `ConfigError` (`ZYQ_UNSUPPORTED`) if a task needs a feature that its broker does not have. */
export function checkTaskSupport({ name, options, queueSpec }: CheckedTask, broker: ServedBroker): void {
  const served = withCapabilitiesFor(broker, queueSpec)
  checkPriority(options.priority, `The task ${name}`, served)
  if (asksForBackoff(options) && served.capabilities.delay === 'none') {
    throw unsupported(`The task ${name}`, 'a backoff between retries', served, 'delays')
  }
  if (options.maxDeliveries !== undefined && served.capabilities.deliveryCount === 'none') {
    throw unsupported(`The task ${name}`, '`maxDeliveries`', served, 'delivery counts')
  }
  if (options.hardTimeoutMs !== undefined && served.capabilities.deliveryCount === 'none') {
    throw unsupported(`The task ${name}`, '`hardTimeoutMs`', served, 'delivery counts')
  }
}

/** Throws `ConfigError` (`ZYQ_UNSUPPORTED`) if a submission needs a feature that the broker does not have. */
export function checkSubmitSupport(
  task: string,
  queue: QueueSpec,
  options: CheckedSubmitOptions,
  broker: ServedBroker,
): void {
  const served = withCapabilitiesFor(broker, queue)
  checkPriority(options.priority, `A submit to ${task}`, served)
  const delay = options.readyAtMs === undefined ? 'delayMs' : 'readyAtMs'
  if ((options[delay] ?? 0) > 0 && served.capabilities.delay === 'none') {
    throw unsupported(`A submit to ${task}`, `\`${delay}\``, served, 'delays')
  }
}

interface CheckedTask {
  readonly name: string
  readonly options: CheckedTaskOptions
  readonly queueSpec: QueueSpec
}

type ServedBroker = Pick<Broker, 'name' | 'capabilities' | 'capabilitiesOf'>

/** The broker with its capabilities for this queue. */
function withCapabilitiesFor(broker: ServedBroker, queue: QueueSpec): Pick<Broker, 'name' | 'capabilities'> {
  return { name: broker.name, capabilities: broker.capabilitiesOf?.(queue) ?? broker.capabilities }
}

function checkPriority(
  priority: CheckedTaskOptions['priority'],
  who: string,
  broker: Pick<Broker, 'name' | 'capabilities'>,
): void {
  if (priorityLevel(priority) !== NORMAL_PRIORITY && broker.capabilities.priorities === 1) {
    throw unsupported(who, '`priority`', broker, 'priorities')
  }
}

function asksForBackoff({ retries }: CheckedTaskOptions): boolean {
  if (typeof retries !== 'object' || retries.limit === 0) return false
  return (retries.delayMs ?? retries.minDelayMs ?? retries.maxDelayMs ?? 0) !== 0
}

function unsupported(
  who: string,
  option: string,
  broker: Pick<Broker, 'name' | 'capabilities'>,
  feature: string,
): ConfigError {
  return new ConfigError(
    'ZYQ_UNSUPPORTED',
    `${who} asks for ${option}, but the broker ${broker.name} has no ${feature}. \`zyqueue brokers\` lists the brokers that have it.`,
  )
}
