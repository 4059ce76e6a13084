import { ask, startRedis } from '@zyqueue/test-servers'
import type { TargetKind } from '../target.ts'
import { onServer } from './server.ts'

export const redis: TargetKind = {
  broker: 'redis',
  setUp:
    'One server with an append-only file and `appendfsync no`: data is written before a command is answered, so it survives the end of the process. Without the file, Redis loses all jobs since its last snapshot when it ends; `zyqueue doctor` warns about this.',
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
