// Shared by the child processes: a connected broker of the built package, as in another process of a user.
import plugin from '@zyqueue/broker-sqlite'

/** The broker's timers and files do not keep a process alive, so the child must. */
export function keepAlive() {
  const timer = setInterval(() => {}, 1000)
  return () => clearInterval(timer)
}

export async function connect(path) {
  const broker = plugin.create({ connection: `sqlite:${path}`, baseDir: '/' })
  await repeatWhileBusy(() => broker.connect())
  await repeatWhileBusy(() => broker.declare([{ name: 'q', options: {} }]))
  return broker
}

/** Repeats the call, as core does, if other processes kept the file locked. */
export async function repeatWhileBusy(call) {
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
