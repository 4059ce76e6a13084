import { execFile } from 'node:child_process'
import { mkdtemp, open, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { promisify } from 'node:util'
import type { TargetKind } from '../target.ts'

const run = promisify(execFile)
const SMALL_DISK = '16m'

export const sqlite: TargetKind = {
  broker: 'sqlite',
  setUp: 'One file with the default settings: stored jobs are flushed to the disk.',
  isServer: false,
  // Only root can mount a small file system.
  hasSpaceLimit: process.getuid?.() === 0,
  hasInjectedFault: false,
  losesNewQueues: false,
  countsLostConnections: false,
  idsAreUnique: true,
  async start({ small }) {
    const folder = await mkdtemp(join(tmpdir(), 'zyqueue-chaos-sqlite-'))
    if (small) await run('mount', ['-t', 'tmpfs', '-o', `size=${SMALL_DISK}`, 'zyqueue-chaos', folder])
    const connection = `sqlite:${join(folder, 'queue.db')}`
    const filler = join(folder, 'filler')
    return {
      connection,
      direct: connection,
      space: {
        async exhaust() {
          const file = await open(filler, 'w')
          try {
            for (;;) await file.write(Buffer.alloc(64 * 1024))
          } catch {
            // The disk is full now.
          } finally {
            await file.close()
          }
        },
        restore: () => rm(filler),
      },
      async [Symbol.asyncDispose]() {
        if (small) await run('umount', ['-l', folder])
        await rm(folder, { recursive: true, force: true, maxRetries: 3 })
      },
    }
  },
}
