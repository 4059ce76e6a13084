import { setTimeout as sleep } from 'node:timers/promises'
import { expect } from 'vitest'
import type {
  Broker,
  BrokerCapabilities,
  BrokerPlugin,
  Consumer,
  Finding,
  Leases,
  RenewableLeases,
} from '../src/contract/index.ts'
import { Connection } from '../src/connection/connection.ts'
import { safeLogger, type Logger } from '../src/logger.ts'
import { createMemoryBroker, createMemoryStore, type MemoryStore } from '../src/testing/index.ts'

/** Replacements for calls of a broker. Each may make the real call. */
export interface Script {
  capabilities?: Partial<BrokerCapabilities>
  connect?: (real: Broker) => Promise<void>
  declare?: (real: Broker, ...call: Parameters<Broker['declare']>) => Promise<void>
  publish?: (real: Broker, ...call: Parameters<Broker['publish']>) => ReturnType<Broker['publish']>
  consume?: (real: Broker, ...call: Parameters<Broker['consume']>) => ReturnType<Broker['consume']>
  renew?: (real: RenewableLeases, ...call: Parameters<RenewableLeases['renew']>) => Promise<readonly string[]>
  receive?: (real: Consumer, ...call: Parameters<Consumer['receive']>) => ReturnType<Consumer['receive']>
  ack?: (real: Consumer, ...call: Parameters<Consumer['ack']>) => ReturnType<Consumer['ack']>
  release?: (real: Consumer, ...call: Parameters<Consumer['release']>) => ReturnType<Consumer['release']>
  close?: (real: Broker) => Promise<void>
  check?: () => Promise<readonly Finding[]>
  /** The lease is the connection. */
  lease?: 'connection'
}

export interface ScriptedBroker extends BrokerPlugin {
  readonly store: MemoryStore
  /** A test may change it at any time. */
  readonly script: Script
  /** The number of created brokers. */
  readonly made: () => number
}

/** An in-memory broker whose calls a test replaces. */
export function scripted(script: Script = {}): ScriptedBroker {
  const store = createMemoryStore()
  let made = 0
  return {
    kind: 'zyqueue.broker',
    apiVersion: 2,
    name: 'scripted',
    schemes: [],
    store,
    script,
    made: () => made,
    create() {
      made++
      return scriptedBroker(createMemoryBroker(store), script)
    },
  }
}

function scriptedBroker(real: Broker, script: Script): Broker {
  return {
    name: 'scripted',
    capabilities: { ...real.capabilities, ...script.capabilities },
    admin: script.check === undefined ? real.admin : { ...real.admin, check: script.check },
    connect: async () => {
      await (script.connect === undefined ? real.connect() : script.connect(real))
    },
    declare: (...call) => (script.declare === undefined ? real.declare(...call) : script.declare(real, ...call)),
    publish: (...call) => (script.publish === undefined ? real.publish(...call) : script.publish(real, ...call)),
    consume: async (...call) => {
      const consumer = await (script.consume === undefined ? real.consume(...call) : script.consume(real, ...call))
      return scriptedConsumer(consumer, script)
    },
    leases: scriptedLeases(real.leases, script),
    errorCode: (error) => real.errorCode(error),
    close: () => (script.close === undefined ? real.close() : script.close(real)),
  }
}

function scriptedLeases(real: Leases, script: Script): Leases {
  if (real.kind !== 'renewable' || script.lease === 'connection') return { kind: 'connection' }
  return {
    kind: 'renewable',
    renew: (...call) => (script.renew === undefined ? real.renew(...call) : script.renew(real, ...call)),
    reclaim: (...call) => real.reclaim(...call),
  }
}

function scriptedConsumer(real: Consumer, script: Script): Consumer {
  return {
    receive: (...call) => (script.receive === undefined ? real.receive(...call) : script.receive(real, ...call)),
    ack: (...call) => (script.ack === undefined ? real.ack(...call) : script.ack(real, ...call)),
    release: (...call) => (script.release === undefined ? real.release(...call) : script.release(real, ...call)),
    reject: (...call) => real.reject(...call),
    close: () => real.close(),
  }
}

export function connectionTo(plugin: BrokerPlugin): Connection {
  return new Connection(plugin, { baseDir: process.cwd() })
}

/** Waits up to a minute for a condition. */
export async function until(what: string, isSo: () => boolean | Promise<boolean>): Promise<void> {
  const giveUpAt = performance.now() + 60_000
  while (!(await isSo())) {
    if (performance.now() > giveUpAt) expect.fail(`never came: ${what}`)
    await sleep(2)
  }
}

/** A promise and the function that resolves it. */
export function gate(): { readonly opened: Promise<void>; open(): void } {
  let open = (): void => {}
  const opened = new Promise<void>((resolve) => {
    open = resolve
  })
  return { opened, open: () => open() }
}

export interface LogLine {
  readonly level: string
  readonly fields: object
  readonly message: string
}

/** A logger that records its lines. */
export function recordingLogger(): Logger & { readonly lines: LogLine[] } {
  const lines: LogLine[] = []
  const at =
    (level: string) =>
    (fields: object, message = ''): void =>
      void lines.push({ level, fields, message })
  const logger = safeLogger({ debug: at('debug'), info: at('info'), warn: at('warn'), error: at('error') })
  return { ...logger, lines }
}

let names = 0

/** A task name that is unique in this process. */
export function uniqueName(stem = 'task'): string {
  return `${stem}-${names++}`
}
