import { OWN_HEADER, ownHeader } from './message.ts'
import { dueNameOf } from './options.ts'
import { exclusively, scan, type Verdict } from './scan.ts'
import type { Session } from './session.ts'

/**
 * Deletes what waits in the ladder for a queue, and resolves to how many that were. The ladder is everybody's: each of its
 * queues that is not empty has to be looked through, and the jobs of others come a little late meanwhile.
 */
export async function purgeDelayed(session: Session, queue: string): Promise<number> {
  return exclusively(session.workbench, 'zyqueue.delay', async () => {
    const { levels } = await session.registry.read()
    const keys = [queue, dueNameOf(queue)]
    let deleted = 0
    for (const level of levels) {
      await scan(session, level, Infinity, async (messages) =>
        messages.map((message): Verdict => {
          const isMeant =
            keys.includes(message.fields.routingKey) && ownHeader(message, OWN_HEADER.exchange) === undefined
          if (isMeant) deleted++
          return isMeant ? 'delete' : 'keep'
        }),
      )
    }
    return deleted
  })
}
