import type { Broker, BrokerPlugin } from '@zyqueue/core/broker'
import type { Scene } from './scene.ts'
import type { TargetKind } from './target.ts'

/** Does something with the broker past core and past the proxy, as its adapter offers it; the task's queue is declared. */
export async function withAdapter(
  { target, folder, task }: Scene,
  { broker: name }: TargetKind,
  work: (broker: Broker) => Promise<void>,
): Promise<void> {
  const { default: plugin }: { default: BrokerPlugin } = await import(`@zyqueue/broker-${name}`)
  const broker = plugin.create({ connection: target.direct, baseDir: folder })
  // An adapter keeps no process alive.
  const alive = setInterval(() => {}, 1_000)
  try {
    await broker.connect()
    await broker.declare([{ name: task, options: {}, unnamed: true }])
    await work(broker)
  } finally {
    await broker.close().finally(() => clearInterval(alive))
  }
}
