import type { Leases, LostDelivery } from '@zyqueue/core/broker'

/** Ends the lease of a lost consumer, or counts its losses; undefined if the adapter does neither. */
export function reclaimOf(
  leases: Leases,
): ((consumerId: string, lost: readonly LostDelivery[]) => Promise<void>) | undefined {
  return leases.kind === 'message' ? undefined : leases.reclaim?.bind(leases)
}
