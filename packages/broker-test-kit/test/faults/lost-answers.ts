import type { Broker, OutboundMessage } from '@zyqueue/core/broker'
import { alterBroker, alterConsumers } from '../alter.ts'
import type { Faults } from './fault.ts'

const PUBLISH = 'lost answers: a publish without an answer is not sent again, and its result is true'
const REPEATED = 'lost answers: a publish without an answer may be repeated'
const RELEASE = 'lost answers: a release without an answer loses no job, and duplicates none if release is native'

let copies = 0

/** The same job to an engine that knows it by its id. */
function copyOf(message: OutboundMessage): OutboundMessage {
  return { ...message, id: `${message.id}~${++copies}` }
}

function doesNotRecognise(broker: Broker): Broker {
  return alterBroker(broker, { publish: (batch) => broker.publish(batch.map(copyOf)) })
}

/** Brokers that are wrong when a request arrives and its answer does not. */
export const lostAnswerFaults: Faults = {
  'sends again what was not answered when it has connected again': {
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

  'sends again at once what was not answered, and calls it stored': {
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

  'calls refused what was not answered': {
    caughtBy: [PUBLISH],
    breaks: () => (broker) =>
      alterBroker(broker, {
        async publish(batch) {
          const results = await broker.publish(batch)
          return results.map((result) => (result.status === 'unknown' ? { ...result, status: 'refused' } : result))
        },
      }),
  },

  'rejects a publish that was not answered': {
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

  'claims that it recognises a repeated publish': {
    caughtBy: [REPEATED],
    breaks: () => doesNotRecognise,
  },

  'stores a released job anew, and claims that release is native': {
    caughtBy: [RELEASE],
    breaks: () => (broker) =>
      alterConsumers(broker, (consumer) => ({
        async release(releases) {
          const anew = releases.map(({ delivery, headers = delivery.headers }) =>
            copyOf({ ...delivery, headers, delayMs: 0 }),
          )
          await broker.publish(anew)
          return consumer.ack(releases.map(({ delivery }) => delivery))
        },
      })),
  },

  'deletes a released job before it stores it anew': {
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
