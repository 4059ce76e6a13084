import { rm } from 'node:fs/promises'
import { join } from 'node:path'
import { FaultProxy } from '@zyqueue/broker-test-kit'
import type { TestServer } from '@zyqueue/test-servers'
import type { Target, TargetRequirements } from '../target.ts'

/** A target on a server, with a proxy if the fault requires one. Unless the server is shared, it stops with the target. */
export async function onServer(
  server: TestServer,
  requirements: TargetRequirements,
  options: { readonly data: string; readonly shared?: boolean } & Pick<Target, 'space' | 'injectFault'>,
): Promise<Target> {
  const { data, shared = false, ...rest } = options
  const proxy = requirements.proxied ? await FaultProxy.start(server.port) : undefined
  return {
    ...rest,
    server,
    direct: server.url,
    connection: proxy === undefined ? server.url : server.url.replace(`:${server.port}`, `:${proxy.port}`),
    ...(proxy && { proxy }),
    wipe: () => rm(join(server.dir, data), { recursive: true }),
    async [Symbol.asyncDispose]() {
      await proxy?.close()
      if (!shared) await server.stop()
    },
  }
}
