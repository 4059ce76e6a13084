import type { Broker, BrokerPlugin, QueueSpec } from '@zyqueue/core/broker'
import type { Scenario } from './scenario.ts'
import type { TargetKind } from './target.ts'

/** Does something with the broker past core and past the proxy, as its adapter offers it; `queue` is the task's, and declared. */
export async function withAdapter(
  { target, folder, task }: Scenario,
  { broker: name }: TargetKind,
  work: (broker: Broker, queue: QueueSpec) => Promise<void>,
): Promise<void> {
  const { default: plugin }: { default: BrokerPlugin } = await import(`@zyqueue/broker-${name}`)
  const broker = plugin.create({ connection: target.direct, baseDir: folder })
  const queue = { name: task, options: {}, unnamed: true }
  // An adapter keeps no process alive.
  const alive = setInterval(() => {}, 1_000)
  try {
    await broker.connect()
    await broker.declare([queue])
    await work(broker, queue)
  } finally {
    await broker.close().finally(() => clearInterval(alive))
  }
}
