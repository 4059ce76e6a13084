/**
 * Milliseconds on the host's monotonic clock (clock_gettime(2), CLOCK_MONOTONIC). All processes of a host read the same value,
 * and a change of the host's time does not move it. For a duration within one process use `performance.now()`.
 */
export function hostMonotonicMs(): number {
  return Number(process.hrtime.bigint() / 1_000n) / 1_000
}
