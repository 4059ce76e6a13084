import { setTimeout as sleep } from 'node:timers/promises'
import { alterBroker, alterAdmin } from '../alter.ts'
import { hang, type Faults } from './fault.ts'

const CUT = 'cut connections: calls pending when the connection is cut settle, and their results are true'
const SILENT =
  'silent connections: calls before and after the server stops answering settle, and their results are true'

/** Brokers that are wrong when their connection is. */
export const lostConnectionFaults: Faults = {
  'leaves publishes without an end when its connection is lost': {
    caughtBy: [CUT, SILENT],
    breaks: () => (broker) =>
      alterBroker(broker, {
        async publish(batch) {
          await sleep(20)
          return broker.publish(batch).catch(hang)
        },
      }),
  },

  'calls stored what was lost with its connection': {
    caughtBy: [CUT, SILENT],
    breaks: () => (broker) =>
      alterBroker(broker, {
        async publish(batch) {
          await sleep(20)
          return broker.publish(batch).catch(() => batch.map(() => ({ status: 'stored' })))
        },
      }),
  },

  'hangs when asked after its connection is lost': {
    caughtBy: ['cut connections: every call after the connection was cut settles', SILENT],
    breaks: () => (broker) => alterAdmin(broker, { version: () => broker.admin.version().catch(hang) }),
  },

  'waits without an end for a server that says nothing': {
    caughtBy: [SILENT],
    breaks: () => (broker) => alterBroker(broker, { connect: () => broker.connect().catch(hang) }),
  },
}
