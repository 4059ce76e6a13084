/**
 * Milliseconds on the clock by which leases are kept: the host's monotonic one (clock_gettime(2), CLOCK_MONOTONIC), which
 * all processes share and nobody can set. It starts anew when the host does: a lease that was renewed later than now was
 * renewed before that.
 */
export function leaseNow(): number {
  return Number(process.hrtime.bigint() / 1_000_000n)
}

/**
 * Whether a lease stands, by its row. Without the write lock this is the only way to ask: a clock that was read before the row
 * may be behind a renewal that came in between, which then looks like one from before the host's start. Of two readings in a write the
 * later may find over what the earlier found standing: whoever relies on a lease asks last.
 */
export function standsNow(renewed: number, expires: number): boolean {
  const now = leaseNow()
  return renewed <= now && expires > now
}

/** The same in SQL at the time `?1`, which was read under the write lock. */
export const STANDS = 'renewed <= ?1 AND expires > ?1'
