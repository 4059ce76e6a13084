import { startGearmand } from '@zyqueue/test-servers'
import type { TargetKind } from '../target.ts'
import { onServer } from './server.ts'

export const gearman: TargetKind = {
  broker: 'gearman',
  setUp:
    'One gearmand that keeps its jobs in a file (`--queue-type=libsqlite3`). Without that it loses all of them when it ends; it tells nobody how it was started, and `zyqueue doctor` says what to look at.',
  isServer: true,
  hasLimits: false,
  hasMishaps: false,
  countsConnections: false,
  idsAreUnique: false,
  start: async (wishes) => onServer(await startGearmand(), wishes, { data: 'queue.db' }),
}
