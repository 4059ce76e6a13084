import { ConfigError, type OpenBroker } from '@zyqueue/core'
import type { BrokerAdmin } from '@zyqueue/core/broker'

type OptionalCall = 'workers' | 'jobs' | 'cancel' | 'promote' | 'limit' | 'compact' | 'shutdown'

/** An optional method of `admin`. Throws `ZYQ_UNSUPPORTED`, with `what` as the description, if the broker does not have it. */
export function requireCall<Call extends OptionalCall>(
  { name, admin }: OpenBroker,
  call: Call,
  what: string,
): NonNullable<BrokerAdmin[Call]> {
  const method: BrokerAdmin[Call] = admin[call]
  if (method === undefined) throw new ConfigError('ZYQ_UNSUPPORTED', `The broker ${name} cannot ${what}.`)
  return method
}
