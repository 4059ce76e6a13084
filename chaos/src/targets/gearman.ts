import { accessSync, constants } from 'node:fs'
import { startGearmand } from '@zyqueue/test-servers'
import type { TargetKind } from '../target.ts'
import { onServer } from './server.ts'

/**
 * gearmand flushes its file for each job. If a flush takes milliseconds, gearmand falls behind the producer, and the recovery time
 * would measure the backlog. A file in memory survives a SIGKILL of the server as a file on a disk does.
 */
const MEMORY = '/dev/shm'
const inMemory = isWritable(MEMORY)

export const gearman: TargetKind = {
  broker: 'gearman',
  setUp:
    'One gearmand that stores its jobs in a file (`--queue-type=libsqlite3`). Without this option it loses all jobs when it ends. Clients cannot see how gearmand was started; `zyqueue doctor` says what to check.' +
    (inMemory
      ? ' gearmand flushes the file for each job. Here the file is in memory (tmpfs): on a slow disk gearmand would fall behind, and the recovery time would measure its backlog.'
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
