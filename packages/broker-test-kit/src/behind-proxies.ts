import type { Broker } from '@zyqueue/core/broker'
import { FaultProxy } from './chaos/fault-proxy.ts'
import type { BrokerHarness } from './harness.ts'

/** The hooks of a harness that break, heal and count connections. */
export interface ProxiedBrokers extends Required<
  Pick<
    BrokerHarness,
    'createBroker' | 'killConnection' | 'stallConnection' | 'healConnection' | 'loseAnswer' | 'openConnections'
  >
> {
  /** Closes the proxies. Call it after the suite. */
  close(): Promise<void>
}

/**
 * Puts proxies between each broker and its servers, so that the suite can break their connections.
 *
 * ```ts
 * const { close, ...brokers } = behindProxies(
 *   () => [server.port],
 *   ([port]) => plugin.create({ connection: `mybroker://127.0.0.1:${port}`, baseDir }),
 * )
 * ```
 *
 * @param targets Returns the ports of the servers on loopback. It is called when a broker is created, so the server may start later.
 * @param create Creates a broker that connects to the given ports.
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
