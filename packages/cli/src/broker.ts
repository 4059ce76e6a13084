import { dirname } from 'node:path'
import { fileURLToPath } from 'node:url'
import { openBroker, type OpenBroker } from '@zyqueue/core'
import { given, type GlobalArgs } from './options.ts'
import { redactConnection } from './redact.ts'

/** This package's own place, from which the embedded broker is found. */
export const HERE: string = dirname(fileURLToPath(import.meta.url))

/** The folders that brokers are looked for from; the last is this package's own, which brings the embedded one. */
export function resolveFrom(taskFile?: string): readonly string[] {
  return [...(taskFile === undefined ? [] : [dirname(taskFile)]), process.cwd(), HERE]
}

/** The broker that a command line and the environment name, for people and without secrets. */
export function nameOfChoice({ server, connection }: Pick<GlobalArgs, 'server' | 'connection'>): string {
  const { ZYQUEUE_SERVER, ZYQUEUE_CONNECTION } = process.env
  const where = connection ?? (ZYQUEUE_CONNECTION || undefined)
  return where === undefined ? (server ?? (ZYQUEUE_SERVER || 'the embedded broker')) : redactConnection(where)
}

/** Runs a piece of work on the connected broker, which has to be there, and closes it whatever comes. */
export async function withBroker<T>(
  { server, connection }: GlobalArgs,
  work: (broker: OpenBroker) => Promise<T>,
): Promise<T> {
  const broker = await openBroker(given({ server, connection }), { create: false })
  try {
    return await work(broker)
  } finally {
    await broker.close()
  }
}

/** The broker and where it is, for people. */
export function placeOf({ name, location }: OpenBroker): string {
  return location === undefined ? name : `${name}, ${location}`
}
