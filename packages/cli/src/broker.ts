import { dirname } from 'node:path'
import { fileURLToPath } from 'node:url'
import { openBroker, type OpenBroker } from '@zyqueue/core'
import { given, type GlobalArgs } from './options.ts'

/** This package's own place, from which the embedded broker is found. */
export const HERE: string = dirname(fileURLToPath(import.meta.url))

/** The folders that brokers are looked for from; the last is this package's own, which brings the embedded one. */
export function resolveFrom(taskFile?: string): readonly string[] {
  return [...(taskFile === undefined ? [] : [dirname(taskFile)]), process.cwd(), HERE]
}

export interface BrokerChoice {
  readonly server?: string
  readonly connection?: string
}

/** What was asked for on the command line, else in the environment. The two are never mixed: they might disagree. */
export function brokerChoice({ server, connection }: Pick<GlobalArgs, 'server' | 'connection'>): BrokerChoice {
  if (server !== undefined || connection !== undefined) return given({ server, connection })
  const { ZYQUEUE_SERVER, ZYQUEUE_CONNECTION } = process.env
  return given({ server: ZYQUEUE_SERVER || undefined, connection: ZYQUEUE_CONNECTION || undefined })
}

/** Runs a piece of work on the connected broker, which has to be there, and closes it whatever comes. */
export async function withBroker<T>(args: GlobalArgs, work: (broker: OpenBroker) => Promise<T>): Promise<T> {
  const broker = await openBroker(brokerChoice(args), { create: false })
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
