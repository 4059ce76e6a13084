/**
 * The clock of leases, in ms: the host's monotonic clock (clock_gettime(2), CLOCK_MONOTONIC). All processes share it, and it
 * cannot be set. It restarts with the host, so a lease that was renewed later than now was renewed before the restart.
 */
export function leaseNow(): number {
  return Number(process.hrtime.bigint() / 1_000_000n)
}

/**
 * Whether a lease is valid, by its row. Without the write lock, read the row first and call this next: if the clock were read
 * first, a renewal in between would look like one from before the restart of the host. The clock moves between two checks in
 * one transaction, so check the lease last.
 */
export function standsNow(renewed: number, expires: number): boolean {
  const now = leaseNow()
  return renewed <= now && expires > now
}

/** The same check in SQL at the time `?1`, which must be read under the write lock. */
export const STANDS = 'renewed <= ?1 AND expires > ?1'
