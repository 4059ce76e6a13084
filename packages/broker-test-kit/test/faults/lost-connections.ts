import { setTimeout as sleep } from 'node:timers/promises'
import { alterBroker, alterAdmin } from '../alter.ts'
import { hang, type Faults } from './fault.ts'

const CUT = 'cut connections: calls pending when the connection is cut settle, and their results are true'
const SILENT =
  'silent connections: calls before and after the server stops answering settle, and their results are true'

/** Brokers with faults when their connection is lost. */
export const lostConnectionFaults: Faults = {
  'leaves publishes pending when its connection is lost': {
    caughtBy: [CUT, SILENT],
    breaks: () => (broker) =>
      alterBroker(broker, {
        async publish(batch) {
          await sleep(20)
          return broker.publish(batch).catch(hang)
        },
      }),
  },

  'reports messages as stored that were lost with its connection': {
    caughtBy: [CUT, SILENT],
    breaks: () => (broker) =>
      alterBroker(broker, {
        async publish(batch) {
          await sleep(20)
          return broker.publish(batch).catch(() => batch.map(() => ({ status: 'stored' })))
        },
      }),
  },

  'leaves admin calls pending after its connection is lost': {
    caughtBy: ['cut connections: every call after the connection was cut settles', SILENT],
    breaks: () => (broker) => alterAdmin(broker, { version: () => broker.admin.version().catch(hang) }),
  },

  'waits for ever for a server that does not answer': {
    caughtBy: [SILENT],
    breaks: () => (broker) => alterBroker(broker, { connect: () => broker.connect().catch(hang) }),
  },
}
