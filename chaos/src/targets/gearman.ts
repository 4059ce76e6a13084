import { accessSync, constants } from 'node:fs'
import { startGearmand } from '@zyqueue/test-servers'
import type { TargetKind } from '../target.ts'
import { onServer } from './server.ts'

/**
 * gearmand flushes its file for each job. On a disk that takes milliseconds for that it is behind with what a cell submits, and
 * recovery would be its backlog. A SIGKILL spares a file in memory as it does one on a disk.
 */
const MEMORY = '/dev/shm'
const inMemory = isWritable(MEMORY)

export const gearman: TargetKind = {
  broker: 'gearman',
  setUp:
    'One gearmand that keeps its jobs in a file (`--queue-type=libsqlite3`). Without that it loses all of them when it ends; it tells nobody how it was started, and `zyqueue doctor` says what to look at.' +
    (inMemory
      ? ' It flushes that file for each job; here the file is in memory (tmpfs), because a disk on which a flush takes milliseconds is behind with these jobs, and recovery would be its backlog.'
      : ''),
  isServer: true,
  hasSpaceLimit: false,
  hasInjectedFault: false,
  losesNewQueues: false,
  countsLostConnections: false,
  idsAreUnique: false,
  start: async (requirements) =>
    onServer(await startGearmand(inMemory ? { parent: MEMORY } : {}), requirements, { data: 'queue.db' }),
}

function isWritable(folder: string): boolean {
  try {
    accessSync(folder, constants.W_OK)
    return true
  } catch {
    return false
  }
}
