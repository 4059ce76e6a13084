import { dirname } from 'node:path'
import { fileURLToPath } from 'node:url'
import { openBroker, type OpenBroker } from '@zyqueue/core'
import { withoutUndefined, type GlobalArgs } from './options.ts'
import { redactConnection } from './redact.ts'

/** The folder of this package, from which Node resolves the embedded broker. */
export const HERE: string = dirname(fileURLToPath(import.meta.url))

/** The folders from which brokers are resolved, in this order. The last is this package's own, which brings the embedded broker. */
export function resolveFrom(taskFile?: string): readonly string[] {
  return [...(taskFile === undefined ? [] : [dirname(taskFile)]), process.cwd(), HERE]
}

/** The broker that the command line and the environment name, as text without secrets. */
export function describeChoice({ server, connection }: Pick<GlobalArgs, 'server' | 'connection'>): string {
  const { ZYQUEUE_SERVER, ZYQUEUE_CONNECTION } = process.env
  const where = connection ?? (ZYQUEUE_CONNECTION || undefined)
  return where === undefined ? (server ?? (ZYQUEUE_SERVER || 'the embedded broker')) : redactConnection(where)
}

/** Connects to a broker whose storage exists, runs `work` on it, and closes it even if `work` fails. */
export async function withBroker<T>(
  { server, connection }: GlobalArgs,
  work: (broker: OpenBroker) => Promise<T>,
): Promise<T> {
  const broker = await openBroker(withoutUndefined({ server, connection }), { create: false })
  try {
    return await work(broker)
  } finally {
    await broker.close()
  }
}

/** The broker's name and location, for messages. */
export function describeBroker({ name, location }: OpenBroker): string {
  return location === undefined ? name : `${name}, ${location}`
}
