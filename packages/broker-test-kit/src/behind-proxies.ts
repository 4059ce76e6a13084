import type { Broker } from '@zyqueue/core/broker'
import { FaultProxy } from './chaos/fault-proxy.ts'
import type { BrokerHarness } from './harness.ts'

/** The hooks of a harness that break, heal and count connections, and the end of them. */
export interface ProxiedBrokers extends Required<
  Pick<
    BrokerHarness,
    'createBroker' | 'killConnection' | 'stallConnection' | 'healConnection' | 'loseAnswer' | 'openConnections'
  >
> {
  /** Closes the proxies. To be called when the suite has run. */
  close(): Promise<void>
}

/**
 * Brokers that reach their servers through proxies of their own, so that the suite can break their connections.
 *
 * @param targets The ports of the servers on loopback, asked for when a broker is made: the server may start later than this.
 * @param create Makes a broker that connects to these ports instead.
 */
export function behindProxies(
  targets: () => readonly number[],
  create: (ports: readonly number[]) => Broker,
): ProxiedBrokers {
  const proxies = new Map<Broker, readonly FaultProxy[]>()
  const proxiesOf = (broker: Broker): readonly FaultProxy[] => proxies.get(broker) ?? []
  const setFault =
    (fault: 'reset' | 'stall' | 'pass') =>
    (broker: Broker): void => {
      for (const proxy of proxiesOf(broker)) proxy.fault = fault
    }
  return {
    async createBroker() {
      const own = await Promise.all(targets().map((port) => FaultProxy.start(port)))
      try {
        const broker = create(own.map(({ port }) => port))
        proxies.set(broker, own)
        return broker
      } catch (error) {
        await Promise.all(own.map((proxy) => proxy.close()))
        throw error
      }
    },
    killConnection: setFault('reset'),
    stallConnection: setFault('stall'),
    healConnection: setFault('pass'),
    async loseAnswer(broker) {
      await Promise.race(proxiesOf(broker).map((proxy) => proxy.cutOnce()))
      setFault('pass')(broker)
    },
    openConnections: (broker) => proxiesOf(broker).reduce((sum, { connections }) => sum + connections, 0),
    async close() {
      await Promise.all([...proxies.values()].flat().map((proxy) => proxy.close()))
    },
  }
}
