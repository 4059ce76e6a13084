import type { Broker, OutboundMessage } from '@zyqueue/core/broker'
import { alterBroker, alterConsumers } from '../alter.ts'
import type { Faults } from './fault.ts'

const PUBLISH = 'lost answers: a publish without an answer is not sent again, and its result is true'
const REPEATED = 'lost answers: a publish without an answer may be repeated'
const RELEASE = 'lost answers: a release without an answer loses no job, and duplicates none if release is native'

let copyCount = 0

/** A copy with another id, so that the engine does not recognize it. */
function copyOf(message: OutboundMessage): OutboundMessage {
  return { ...message, id: `${message.id}~${++copyCount}` }
}

function publishCopies(broker: Broker): Broker {
  return alterBroker(broker, { publish: (batch) => broker.publish(batch.map(copyOf)) })
}

/** Brokers with faults when the answer of a request is lost. */
export const lostAnswerFaults: Faults = {
  'sends unanswered messages again after a reconnect': {
    caughtBy: [PUBLISH],
    breaks: () => (broker) => {
      const unanswered: OutboundMessage[] = []
      return alterBroker(broker, {
        async connect() {
          await broker.connect()
          const again = unanswered.splice(0)
          if (again.length > 0) await broker.publish(again.map(copyOf))
        },
        async publish(batch) {
          const results = await broker.publish(batch)
          unanswered.push(...batch.filter((_, index) => results[index]?.status === 'unknown'))
          return results
        },
      })
    },
  },

  'sends unanswered messages again at once and reports them as stored': {
    caughtBy: [PUBLISH],
    breaks: () => (broker) =>
      alterBroker(broker, {
        async publish(batch) {
          const results = await broker.publish(batch)
          if (results.every(({ status }) => status !== 'unknown')) return results
          await broker.connect()
          return broker.publish(batch.map(copyOf))
        },
      }),
  },

  'reports unanswered messages as refused': {
    caughtBy: [PUBLISH],
    breaks: () => (broker) =>
      alterBroker(broker, {
        async publish(batch) {
          const results = await broker.publish(batch)
          return results.map((result) => (result.status === 'unknown' ? { ...result, status: 'refused' } : result))
        },
      }),
  },

  'rejects an unanswered publish': {
    caughtBy: [PUBLISH],
    breaks: () => (broker) =>
      alterBroker(broker, {
        async publish(batch) {
          const results = await broker.publish(batch)
          for (const result of results) if (result.status === 'unknown') throw result.error
          return results
        },
      }),
  },

  'claims idempotent publishes and stores a repeated message again': {
    caughtBy: [REPEATED],
    breaks: () => publishCopies,
  },

  'claims native releases and stores a copy of a released job': {
    caughtBy: [RELEASE],
    breaks: () => (broker) =>
      alterConsumers(broker, (consumer) => ({
        async release(releases) {
          const copies = releases.map(({ delivery, headers = delivery.headers }) =>
            copyOf({ ...delivery, headers, delayMs: 0 }),
          )
          await broker.publish(copies)
          return consumer.ack(releases.map(({ delivery }) => delivery))
        },
      })),
  },

  'acks a released job before it publishes the copy': {
    caughtBy: [RELEASE],
    breaks: () => (broker) =>
      alterConsumers(broker, (consumer) => ({
        async release(releases) {
          const results = await consumer.ack(releases.map(({ delivery }) => delivery))
          await broker.publish(
            releases.map(({ delivery, headers = delivery.headers }) => copyOf({ ...delivery, headers, delayMs: 0 })),
          )
          return results
        },
      })),
  },
}
