/**
 * Milliseconds on the clock by which leases are kept: the host's monotonic one (clock_gettime(2), CLOCK_MONOTONIC), which
 * all processes share and nobody can set. It starts anew when the host does: a lease that was renewed later than now was
 * renewed before that.
 */
export function leaseNow(): number {
  return Number(process.hrtime.bigint() / 1_000_000n)
}

/** In SQL: that a lease still stands at the time `?1` of that clock. */
export const STANDS = 'renewed <= ?1 AND expires > ?1'
