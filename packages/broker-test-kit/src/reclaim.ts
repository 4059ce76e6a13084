import type { Leases, LostDelivery } from '@zyqueue/core/broker'

/** The broker's `reclaim`; undefined if it has none. */
export function reclaimOf(
  leases: Leases,
): ((consumerId: string, lost: readonly LostDelivery[]) => Promise<void>) | undefined {
  return leases.kind === 'message' ? undefined : leases.reclaim?.bind(leases)
}
