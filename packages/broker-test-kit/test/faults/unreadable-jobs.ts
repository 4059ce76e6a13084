import { BrokerError, type Rejection } from '@zyqueue/core/broker'
import { alterDeadLetters } from '../alter.ts'
import type { OnUnreadable } from '../memory-engine.ts'
import type { Breaks, Faults } from './fault.ts'

const UNREADABLE = 'unreadable jobs: an unreadable stored job becomes a dead letter, and the others are delivered'
const REASON = 'ZYQ_DECODE: it is not a job'

function onUnreadable(handle: OnUnreadable): Breaks {
  return () => (broker, engine) => {
    engine.onUnreadable = handle
    return broker
  }
}

function rejections(deliveries: readonly Rejection['delivery'][], reason: string = REASON): readonly Rejection[] {
  return deliveries.map((delivery) => ({ delivery, reason, headers: {} }))
}

/** Brokers with faults when a stored job is unreadable. */
export const unreadableJobFaults: Faults = {
  'rejects receive if a job is unreadable': {
    caughtBy: [UNREADABLE],
    breaks: onUnreadable(async () => {
      throw new BrokerError('ZYQ_BROKER', 'A stored job cannot be read.')
    }),
  },

  'rejects readable jobs with an unreadable one': {
    caughtBy: [UNREADABLE],
    breaks: onUnreadable(async (consumer, unreadable, others) => {
      await consumer.reject(rejections([...unreadable, ...others]))
      return []
    }),
  },

  'drops unreadable jobs': {
    caughtBy: [UNREADABLE],
    breaks: onUnreadable(async (consumer, unreadable, others) => {
      await consumer.ack(unreadable)
      return others
    }),
  },

  'holds unreadable jobs': {
    caughtBy: [UNREADABLE],
    breaks: onUnreadable(async (_consumer, _unreadable, others) => others),
  },

  'dead-letters unreadable jobs without a code': {
    caughtBy: [UNREADABLE],
    breaks: onUnreadable(async (consumer, unreadable, others) => {
      await consumer.reject(rejections(unreadable, 'It is not a job.'))
      return others
    }),
  },

  'dead-letters unreadable jobs with an empty body': {
    caughtBy: [UNREADABLE],
    breaks: () => (broker) =>
      alterDeadLetters(broker, {
        async list(queue, options) {
          const letters = await broker.admin.deadLetters.list(queue, options)
          return letters.map((letter) => ({ ...letter, body: new Uint8Array() }))
        },
      }),
  },
}
