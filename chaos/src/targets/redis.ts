import { ask, startRedis } from '@zyqueue/test-servers'
import type { TargetKind } from '../target.ts'
import { onServer } from './server.ts'

export const redis: TargetKind = {
  broker: 'redis',
  setUp:
    'One server with an append-only file, `appendfsync no`: what is answered is written, and outlives the process. Without one it loses, when it ends, all jobs since its last snapshot; `zyqueue doctor` warns of that.',
  isServer: true,
  hasSpaceLimit: true,
  hasInjectedFault: true,
  losesNewQueues: false,
  countsLostConnections: false,
  idsAreUnique: true,
  async start(requirements) {
    const server = await startRedis()
    const command = async (line: string): Promise<void> => void (await ask(server.port, `${line}\r\n`))
    return onServer(server, requirements, {
      data: 'appendonlydir',
      space: { exhaust: () => command('CONFIG SET maxmemory 1'), restore: () => command('CONFIG SET maxmemory 0') },
      async injectFault() {
        await command('SCRIPT FLUSH')
        await command('CLIENT KILL TYPE normal')
      },
    })
  },
}
