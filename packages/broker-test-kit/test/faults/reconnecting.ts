import { BrokerError } from '@zyqueue/core/broker'
import { alterBroker, alterAdmin, alterConsumers } from '../alter.ts'
import type { Faults } from './fault.ts'

const CODES = 'reconnecting: calls without a connection reject with a code after which core reconnects'
const REFUSED = 'reconnecting: connect may be repeated after it was refused'
const AGAIN = 'reconnecting: connect, publish and consume work again after each loss of the connection'
const SILENT =
  'silent connections: calls before and after the server stops answering settle, and their results are true'
const ADMIN = 'open connections: admin calls leave no connection open'
const CLOSED = 'open connections: close leaves no connection open'

/** Brokers with faults after a reconnect, or with too many connections. */
export const reconnectingFaults: Faults = {
  'never reconnects': {
    caughtBy: [AGAIN, SILENT],
    breaks: () => (broker) => {
      let connected = false
      return alterBroker(broker, {
        async connect() {
          if (connected) throw new BrokerError('ZYQ_CONNECTION_LOST', 'The connection cannot be opened again.')
          await broker.connect()
          connected = true
        },
      })
    },
  },

  'reconnects only once': {
    caughtBy: [AGAIN],
    breaks: () => (broker) => {
      let connects = 0
      return alterBroker(broker, {
        async connect() {
          if (connects < 2) await broker.connect()
          connects += 1
        },
      })
    },
  },

  'keeps the promise of its first connect': {
    caughtBy: [CODES, REFUSED, AGAIN],
    breaks: () => (broker) => {
      let first: Promise<void> | undefined
      return alterBroker(broker, { connect: () => (first ??= broker.connect()) })
    },
  },

  'keeps the promise of its first publish after a loss': {
    caughtBy: [AGAIN],
    breaks: () => (broker) => {
      let lost: Promise<never> | undefined
      return alterBroker(broker, {
        publish: (batch) =>
          lost ??
          broker.publish(batch).catch((error: unknown) => {
            lost = Promise.reject(error)
            return lost
          }),
      })
    },
  },

  'gives a lost connection another code': {
    caughtBy: [CODES, AGAIN],
    breaks: () => (broker) =>
      alterBroker(broker, {
        errorCode(error) {
          const code = broker.errorCode(error)
          return code === 'ZYQ_CONNECTION_LOST' ? 'ZYQ_BROKER' : code
        },
      }),
  },

  'gives a refused connection another code': {
    caughtBy: [CODES, REFUSED],
    breaks: () => (broker) =>
      alterBroker(broker, {
        errorCode(error) {
          const code = broker.errorCode(error)
          return code === 'ZYQ_UNREACHABLE' ? 'ZYQ_CLOSED' : code
        },
      }),
  },

  'resolves a connect that was refused': {
    caughtBy: [CODES, REFUSED],
    breaks: () => (broker) => alterBroker(broker, { connect: () => broker.connect().catch(() => undefined) }),
  },

  'loses its consumers with the connection': {
    caughtBy: [AGAIN],
    breaks: () => (broker) =>
      alterConsumers(broker, (consumer) => {
        let lost = false
        return {
          async receive(max, options) {
            if (lost) return []
            return consumer.receive(max, options).catch((error: unknown) => {
              lost = broker.errorCode(error) === 'ZYQ_CONNECTION_LOST'
              throw error
            })
          },
        }
      }),
  },

  'keeps a lost connection of admin': {
    caughtBy: [AGAIN],
    breaks: () => (broker) => {
      let lost: Promise<never> | undefined
      return alterAdmin(broker, {
        version: () => lost ?? broker.admin.version(),
        check: () =>
          broker.admin.check().catch((error: unknown) => {
            lost = Promise.reject(error)
            return lost
          }),
      })
    },
  },

  'opens a connection for each call of admin': {
    caughtBy: [ADMIN, CLOSED],
    breaks: () => (broker, _engine, connection) =>
      alterAdmin(broker, {
        version() {
          connection.leak()
          return broker.admin.version()
        },
      }),
  },
}
