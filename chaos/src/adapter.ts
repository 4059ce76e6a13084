import type { Broker, BrokerPlugin, QueueSpec } from '@zyqueue/core/broker'
import type { Scenario } from './scenario.ts'
import type { TargetKind } from './target.ts'

/** Calls `work` with the adapter's broker, without core and without the proxy. `queue` is the declared queue of the task. */
export async function withAdapter(
  { target, folder, task }: Scenario,
  { broker: name }: TargetKind,
  work: (broker: Broker, queue: QueueSpec) => Promise<void>,
): Promise<void> {
  const { default: plugin }: { default: BrokerPlugin } = await import(`@zyqueue/broker-${name}`)
  const broker = plugin.create({ connection: target.direct, baseDir: folder })
  const queue = { name: task, options: {}, unnamed: true }
  // An adapter does not keep the process alive.
  const alive = setInterval(() => {}, 1_000)
  try {
    await broker.connect()
    await broker.declare([queue])
    await work(broker, queue)
  } finally {
    await broker.close().finally(() => clearInterval(alive))
  }
}
