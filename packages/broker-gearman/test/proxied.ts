import { behindProxies, type ProxiedBrokers } from '@zyqueue/broker-test-kit'
import type { Broker } from '@zyqueue/core/broker'
import plugin from '../src/index.ts'

export function brokerAt(ports: readonly number[]): Broker {
  return plugin.create({ connection: ports.map((port) => `127.0.0.1:${port}`).join(), baseDir: process.cwd() })
}

/** Brokers whose connections go through proxies, for the harness of the conformance suite. */
export function proxied(servers: () => readonly { readonly port: number }[]): ProxiedBrokers {
  return behindProxies(() => servers().map(({ port }) => port), brokerAt)
}
