import { defineScript, type Script } from './script.ts'
import { CLOCK, RETURN_JOB, PROBE, IS_LEASE_VALID, WAKE } from './fragments.ts'

/*
 * Each script returns 1, or changes nothing and returns 0 if the lease has ended. While the lease is valid, only its consumer can
 * remove a delivery. If a delivery is missing, an earlier call settled it and its answer was lost, so the script skips it.
 */

/**
 *     KEYS  leases, held
 *     ARGV  consumer; delivery numbers
 */
export const ack: Script = defineScript(`
${CLOCK}
${IS_LEASE_VALID}
if not isLeaseValid(KEYS[1], ARGV[1]) then return 0 end
redis.call('HDEL', KEYS[2], unpack(ARGV, 2))
return 1
`)

/**
 *     KEYS  leases, held, ready, sorted, delayed, waiters
 *     ARGV  consumer; prefix of the wake channels; for each delivery its number, the delay in ms, and the new message, or an empty
 *           string if the message stays the same
 */
export const release: Script = defineScript(`
${CLOCK}
${IS_LEASE_VALID}
${WAKE}
${RETURN_JOB}
local leases, held, ready, sorted, delayed, waiters = unpack(KEYS)
if not isLeaseValid(leases, ARGV[1]) then return 0 end
${PROBE.hash('held')}
local moved, soon = {}, false
for at = 3, #ARGV, 3 do
  local tag, delay, changed = ARGV[at], tonumber(ARGV[at + 1]), ARGV[at + 2]
  local message = redis.call('HGET', held, tag)
  if message then
    if changed ~= '' then message = changed end
    returnJob(ready, sorted, delayed, message, tag, 0, delay)
    moved[#moved + 1] = tag
    soon = soon or delay <= 1000
  end
end
if #moved > 0 then redis.call('HDEL', held, unpack(moved)) end
if soon then wake(waiters, leases, ARGV[2], '') end
return 1
`)

/**
 *     KEYS  leases, held, dead, died
 *     ARGV  consumer; for each delivery its number, the job's id, the reason, and the new message or an empty string
 *
 * A dead letter has the version of this format (u8, now 0), the length of its reason (u24), the reason and the message.
 */
export const reject: Script = defineScript(`
${CLOCK}
${IS_LEASE_VALID}
local leases, held, dead, died = unpack(KEYS)
if not isLeaseValid(leases, ARGV[1]) then return 0 end
${PROBE.hash('held')}
${PROBE.sorted('died')}
local moved = {}
for at = 2, #ARGV, 4 do
  local tag, id, reason, changed = unpack(ARGV, at, at + 3)
  local message = redis.call('HGET', held, tag)
  if message then
    if changed ~= '' then message = changed end
    if redis.call('HEXISTS', dead, id) == 1 then id = id .. '\\n' .. tag end
    redis.call('HSET', dead, id, struct.pack('>BI3', 0, #reason) .. reason .. message)
    redis.call('ZADD', died, nowUs + at, id)
    moved[#moved + 1] = tag
  end
end
if #moved > 0 then redis.call('HDEL', held, unpack(moved)) end
return 1
`)
