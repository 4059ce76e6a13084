import { defineScript, type Script } from './script.ts'
import { CLOCK, END_LEASE, RETURN_JOB, PROBE, IS_LEASE_VALID, WAKE } from './fragments.ts'

/**
 * Opens a consumer's lease in one or several queues. An earlier lease of the same consumer ends as if it had expired.
 *
 *     KEYS  for each queue: leases, held, ready, sorted, waiters
 *     ARGV  consumer; duration in ms
 */
export const openLease: Script = defineScript(`
${CLOCK}
${RETURN_JOB}
${END_LEASE}
for at = 1, #KEYS, 5 do
  local leases, held, ready, sorted, waiters = unpack(KEYS, at, at + 4)
  endLease(leases, held, ready, sorted, waiters, ARGV[1], 1, {})
  redis.call('ZADD', leases, now + ARGV[2], ARGV[1])
end
return 1
`)

/**
 * Stores the record of a consumer.
 *
 *     KEYS  workers
 *     ARGV  consumer; record as JSON
 */
export const recordWorker: Script = defineScript(`
${PROBE.hash('KEYS[1]')}
return redis.call('HSET', KEYS[1], ARGV[1], ARGV[2])
`)

/**
 * Adds queues to the set of queues.
 *
 *     KEYS  queues
 *     ARGV  names of the queues
 */
export const declareQueues: Script = defineScript(`
${PROBE.set('KEYS[1]')}
return redis.call('SADD', KEYS[1], unpack(ARGV))
`)

/**
 * Extends a consumer's lease in one or several queues and returns 1. If it is no longer valid in one of them, changes nothing and
 * returns 0.
 *
 *     KEYS  for each queue: leases
 *     ARGV  consumer; duration from now in ms
 */
export const renewLease: Script = defineScript(`
${CLOCK}
${IS_LEASE_VALID}
for _, leases in ipairs(KEYS) do
  if not isLeaseValid(leases, ARGV[1]) then return 0 end
end
${PROBE.sorted('KEYS[1]')}
for _, leases in ipairs(KEYS) do
  redis.call('ZADD', leases, now + ARGV[2], ARGV[1])
end
return 1
`)

/**
 * Ends a consumer's lease in one queue and returns the number of jobs that are ready again.
 *
 *     KEYS  leases, held, ready, sorted, waiters
 *     ARGV  consumer; prefix of the wake channels; reason; then for each changed job its delivery number and its new message
 *
 *     reason     the script does nothing if       jobs count one more delivery if
 *     expired    the lease is valid or missing    always
 *     orphaned   the lease is valid               always
 *     closed     never                            the lease has expired
 *     reclaimed  never                            never; the new messages have the new counts
 */
export const endLease: Script = defineScript(`
${CLOCK}
${IS_LEASE_VALID}
${WAKE}
${RETURN_JOB}
${END_LEASE}
local leases, held, ready, sorted, waiters = unpack(KEYS)
local consumer, channel, reason = ARGV[1], ARGV[2], ARGV[3]
local isValid = isLeaseValid(leases, consumer)
if reason == 'expired' and (isValid or not redis.call('ZSCORE', leases, consumer)) then return 0 end
if reason == 'orphaned' and isValid then return 0 end
local lost = (reason == 'reclaimed' or reason == 'closed' and isValid) and 0 or 1
local replaced = {}
for at = 4, #ARGV, 2 do replaced[ARGV[at]] = ARGV[at + 1] end
local returned = endLease(leases, held, ready, sorted, waiters, consumer, lost, replaced)
if returned > 0 or redis.pcall('EXISTS', sorted) == 1 then wake(waiters, leases, channel, consumer) end
return returned
`)

/**
 * Wakes another waiting consumer of a queue if the consumer that was woken has no room.
 *
 *     KEYS  waiters, leases
 *     ARGV  consumer that was woken; prefix of the wake channels
 */
export const wakeNext: Script = defineScript(`
${CLOCK}
${WAKE}
wake(KEYS[1], KEYS[2], ARGV[2], ARGV[1])
return 1
`)
