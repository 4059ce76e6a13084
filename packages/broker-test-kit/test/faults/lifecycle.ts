import { reclaimOf } from '../../src/reclaim.ts'
import type { Broker } from '@zyqueue/core/broker'
import { setTimeout as sleep } from 'node:timers/promises'
import { alterBroker, alterConsumers } from '../alter.ts'
import { hang, type Faults } from './fault.ts'

/** Brokers with faults while they open, close or are idle. */
export const lifecycleFaults: Faults = {
  'has fewer capabilities than its sample': {
    caughtBy: ['summary: the sample has the capabilities and methods of the brokers'],
    breaks: () => {
      let made = 0
      const less = (broker: Broker): Broker =>
        alterBroker(broker, { capabilities: Object.freeze({ ...broker.capabilities, delay: 'none' }) })
      return (broker) => (made++ === 0 ? broker : less(broker))
    },
  },

  'refuses a second connect': {
    caughtBy: ['lifecycle: a second or concurrent connect changes nothing'],
    breaks: () => (broker) => {
      let connected = false
      return alterBroker(broker, {
        async connect() {
          if (connected) throw new Error('connected already')
          connected = true
          await broker.connect()
        },
      })
    },
  },

  'hangs before connect': {
    caughtBy: ['lifecycle: every call before connect settles'],
    breaks: () => (broker) => {
      let connected = false
      return alterBroker(broker, {
        connect() {
          connected = true
          return broker.connect()
        },
        publish: (batch) => (connected ? broker.publish(batch) : hang()),
      })
    },
  },

  'changes its capabilities': {
    caughtBy: ['lifecycle: capabilities are the same before connect and after close'],
    breaks: () => (broker) => {
      let connected = false
      const changing = alterBroker(broker, {
        async connect() {
          await broker.connect()
          connected = true
        },
      })
      return Object.defineProperty(changing, 'capabilities', {
        get: () => (connected ? broker.capabilities : { ...broker.capabilities, maxBatch: 1 }),
      })
    },
  },

  'leaves its capabilities unfrozen': {
    caughtBy: ['lifecycle: capabilities are frozen and consistent'],
    breaks: () => (broker) => alterBroker(broker, { capabilities: { ...broker.capabilities } }),
  },

  'throws in errorCode': {
    caughtBy: ['lifecycle: errorCode returns a code for any value'],
    breaks: () => (broker) =>
      alterBroker(broker, {
        errorCode(error) {
          if (!(error instanceof Error)) throw new TypeError('not an error')
          return broker.errorCode(error)
        },
      }),
  },

  'keeps the process alive': {
    caughtBy: ['lifecycle: a connected, idle broker does not keep the process alive'],
    breaks: () => (broker) => {
      let timer: ReturnType<typeof setInterval> | undefined
      return alterBroker(broker, {
        async connect() {
          await broker.connect()
          timer ??= setInterval(() => undefined, 1000)
        },
        close() {
          clearInterval(timer)
          return broker.close()
        },
      })
    },
  },

  'hangs on close': {
    caughtBy: ['lifecycle: a broker that was never connected can be closed'],
    breaks: () => (broker) => alterBroker(broker, { close: hang }),
  },

  'hangs on a second close': {
    caughtBy: ['lifecycle: a second or concurrent close changes nothing'],
    breaks: () => (broker) => {
      let closed = false
      return alterBroker(broker, {
        close() {
          if (closed) return hang()
          closed = true
          return broker.close()
        },
      })
    },
  },

  'rejects a close without connect': {
    caughtBy: [
      'lifecycle: a broker that was never connected can be closed',
      'lifecycle: close during connect: both settle and the broker stays closed',
    ],
    breaks: () => (broker) => {
      let connected = false
      return alterBroker(broker, {
        async connect() {
          await broker.connect()
          connected = true
        },
        close: async () => (connected ? broker.close() : Promise.reject(new Error('not connected'))),
      })
    },
  },

  'opens again after close': {
    caughtBy: ['lifecycle: every call after close rejects with ZYQ_CLOSED'],
    breaks: () => (broker) => {
      let open = true
      return alterBroker(broker, {
        connect: () =>
          broker.connect().catch((error: unknown) => {
            if (open) throw error
          }),
        close() {
          open = false
          return broker.close()
        },
      })
    },
  },

  'delivers after close': {
    caughtBy: [
      'closing: consumers of a closed broker receive nothing',
      'receive: receive after consumer.close rejects with ZYQ_CLOSED',
      'closing: the id of a closed consumer may be used again',
    ],
    breaks: () => (broker) =>
      alterBroker(
        alterConsumers(broker, () => ({ close: async () => undefined })),
        { close: async () => undefined },
      ),
  },

  'leaves calls pending at close': {
    caughtBy: ['lifecycle: close settles pending calls'],
    breaks: () => (broker) => {
      let closed = false
      return alterBroker(broker, {
        async publish(batch) {
          await sleep(1)
          return closed ? hang() : broker.publish(batch)
        },
        close() {
          closed = true
          return broker.close()
        },
      })
    },
  },

  'reports messages as stored that close has dropped': {
    caughtBy: ['lifecycle: close settles pending publishes, and their results are true'],
    breaks: () => (broker) =>
      alterBroker(broker, {
        async publish(batch) {
          await sleep(1)
          return broker.publish(batch).catch(() => batch.map(() => ({ status: 'stored' })))
        },
      }),
  },

  'reports stored messages as refused': {
    caughtBy: ['lifecycle: close settles pending publishes, and their results are true'],
    breaks: () => (broker) => {
      let published = 0
      return alterBroker(broker, {
        async publish(batch) {
          const results = await broker.publish(batch)
          return ++published % 3 === 0 ? batch.map(() => ({ status: 'refused', error: new Error('late') })) : results
        },
      })
    },
  },

  'leaves a receive pending when its consumer closes': {
    caughtBy: ['closing: consumer.close settles a pending receive and loses no job'],
    breaks: () => (broker) =>
      alterConsumers(broker, (consumer) => {
        let closed = false
        return {
          async receive(max, options) {
            const deliveries = await consumer.receive(max, options)
            return closed ? hang() : deliveries
          },
          close() {
            closed = true
            return consumer.close()
          },
        }
      }),
  },

  'leaves a receive pending when it closes': {
    caughtBy: ['closing: broker.close settles a pending receive and loses no job'],
    breaks: () => (broker) => {
      let closed = false
      const withConsumers = alterConsumers(broker, (consumer) => ({
        async receive(max, options) {
          const deliveries = await consumer.receive(max, options)
          return closed ? hang() : deliveries
        },
      }))
      return alterBroker(withConsumers, {
        close() {
          closed = true
          return broker.close()
        },
      })
    },
  },

  'leaves its consumers open when it closes': {
    caughtBy: ['closing: broker.close gives back unsettled jobs of its consumers, uncounted'],
    breaks: () => (broker) => alterBroker(broker, { close: async () => undefined }),
  },

  'rejects a second close of a consumer': {
    caughtBy: ['closing: a second, concurrent or late consumer.close changes nothing'],
    breaks: () => (broker) =>
      alterConsumers(broker, (consumer) => {
        let closed = false
        return {
          async close() {
            if (closed) throw new Error('closed already')
            closed = true
            await consumer.close()
          },
        }
      }),
  },

  'closes all consumers with one': {
    caughtBy: ['closing: closing a consumer does not affect the others of its broker'],
    breaks: () => (broker) => {
      const closers: (() => Promise<void>)[] = []
      return alterConsumers(broker, (consumer) => {
        closers.push(() => consumer.close())
        return { close: async () => void (await Promise.all(closers.map((close) => close()))) }
      })
    },
  },

  'refuses to use a consumer id again': {
    caughtBy: ['closing: the id of a closed consumer may be used again'],
    breaks: () => {
      const known = new Set<string>()
      return (broker) =>
        alterBroker(broker, {
          async consume(options) {
            if (known.has(options.consumerId)) throw new Error('known already')
            known.add(options.consumerId)
            return broker.consume(options)
          },
        })
    },
  },

  'settles for a closed consumer': {
    caughtBy: ['closing: settling a job after close has no effect'],
    breaks: () => (broker) =>
      alterConsumers(broker, (consumer) => ({
        ack: (all) => consumer.ack(all).catch(() => all.map(() => ({ status: 'ok' }))),
      })),
  },

  'reports acks during close as lease-lost': {
    caughtBy: ['closing: close during settlements: each job is settled or back in its queue'],
    breaks: () => (broker) => {
      let closed = false
      const withConsumers = alterConsumers(broker, (consumer) => ({
        async ack(all) {
          const results = await consumer.ack(all)
          await sleep(1)
          return closed ? all.map(() => ({ status: 'lease-lost' })) : results
        },
      }))
      return alterBroker(withConsumers, {
        close() {
          closed = true
          return broker.close()
        },
      })
    },
  },

  'counts a loss for unsettled jobs at close': {
    caughtBy: ['closing: consumer.close gives back unsettled jobs, uncounted'],
    breaks: () => (broker) =>
      alterConsumers(broker, (consumer, { consumerId }) => {
        const seen = new Set<string>()
        return {
          async receive(max, options) {
            const deliveries = await consumer.receive(max, options)
            for (const { id } of deliveries) seen.add(id)
            return deliveries
          },
          async close() {
            const lost = [...seen].map((id) => ({ id }))
            await reclaimOf(broker.leases)?.(consumerId, lost).catch(() => undefined)
            await consumer.close()
          },
        }
      }),
  },
}
