// What the children share: a connected broker of the built package, as another process of a user would have it.
import plugin from '@zyqueue/broker-sqlite'

/** The broker holds nothing that keeps a process alive; whoever waits for it does. */
export function keepAlive() {
  const timer = setInterval(() => {}, 1000)
  return () => clearInterval(timer)
}

export async function connect(path) {
  const broker = plugin.create({ connection: `sqlite:${path}`, baseDir: '/' })
  await insist(() => broker.connect())
  await insist(() => broker.declare([{ name: 'q', options: {} }]))
  return broker
}

/** Does what core does: asks again where others kept the file locked. */
export async function insist(call) {
  for (;;) {
    try {
      return await call()
    } catch (error) {
      if (error.code !== 'ZYQ_BROKER_BUSY') throw error
    }
  }
}

export function consume(broker, consumerId) {
  return broker.consume({
    queues: [{ name: 'q', options: {} }],
    prefetch: 200,
    leaseMs: 600_000,
    consumerId,
    client: { name: 'child', host: 'here', pid: process.pid },
  })
}

export function message(id) {
  return { queue: 'q', id, body: Buffer.from(id), headers: {}, delayMs: 0, priority: 4 }
}
