import { defineScript, type Script } from './script.ts'
import { CLOCK, END_LEASE, RETURN_JOB, PROBE, IS_LEASE_VALID, WAKE } from './fragments.ts'

/**
 * Opens a consumer's lease in one or several queues. One that it had and never closed is ended as if it had run out.
 *
 *     KEYS  for each queue: leases, held, ready, sorted, waiters
 *     ARGV  consumer; how long, in ms
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
 * Notes who a consumer is.
 *
 *     KEYS  workers
 *     ARGV  consumer; the note
 */
export const recordWorker: Script = defineScript(`
${PROBE.hash('KEYS[1]')}
return redis.call('HSET', KEYS[1], ARGV[1], ARGV[2])
`)

/**
 * Notes that queues exist.
 *
 *     KEYS  queues
 *     ARGV  their names
 */
export const declareQueues: Script = defineScript(`
${PROBE.set('KEYS[1]')}
return redis.call('SADD', KEYS[1], unpack(ARGV))
`)

/**
 * Extends a consumer's lease in one or several queues, if it stands in all of them; answers with 1 where it does, else with 0.
 *
 *     KEYS  for each queue: leases
 *     ARGV  consumer; how long from now, in ms
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
 * Ends a consumer's lease in one queue; answers with how many jobs are ready again by it.
 *
 *     KEYS  leases, held, ready, sorted, waiters
 *     ARGV  consumer; wake channel; why: expired (only where it has run out; all jobs are charged), closed (charged only
 *           where it has run out), reclaimed, or orphaned (also where there is no lease; charged); then for each job that is to
 *           change the number of its delivery and its new message
 */
export const endLease: Script = defineScript(`
${CLOCK}
${IS_LEASE_VALID}
${WAKE}
${RETURN_JOB}
${END_LEASE}
local leases, held, ready, sorted, waiters = unpack(KEYS)
local consumer, channel, why = ARGV[1], ARGV[2], ARGV[3]
local inTime = isLeaseValid(leases, consumer)
if why == 'expired' and (inTime or not redis.call('ZSCORE', leases, consumer)) then return 0 end
if why == 'orphaned' and inTime then return 0 end
local charge = (why == 'reclaimed' or why == 'closed' and inTime) and 0 or 1
local replaced = {}
for at = 4, #ARGV, 2 do replaced[ARGV[at]] = ARGV[at + 1] end
local returned = endLease(leases, held, ready, sorted, waiters, consumer, charge, replaced)
if returned > 0 or redis.pcall('EXISTS', sorted) == 1 then wake(waiters, leases, channel, consumer) end
return returned
`)

/**
 * Wakes another one of those that wait for a queue, in the place of a consumer that has no room.
 *
 *     KEYS  waiters, leases
 *     ARGV  consumer; wake channel
 */
export const wakeNext: Script = defineScript(`
${CLOCK}
${WAKE}
wake(KEYS[1], KEYS[2], ARGV[2], ARGV[1])
return 1
`)
