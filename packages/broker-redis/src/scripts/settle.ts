import { defineScript, type Script } from '../script.ts'
import { CLOCK, GIVE_BACK, GO_ON_WITHOUT_MEMORY, STANDS, WAKE } from './fragments.ts'

/*
 * Each answers with 1, or with 0 where the lease has ended and nothing was changed. While it stands, nobody else takes a
 * delivery away from its consumer: one that is not held any more was settled by an earlier call, whose answer was lost.
 */

/**
 *     KEYS  leases, held
 *     ARGV  consumer; the numbers of the deliveries
 */
export const ack: Script = defineScript(`
${CLOCK}
${STANDS}
if not stands(KEYS[1], ARGV[1]) then return 0 end
redis.call('HDEL', KEYS[2], unpack(ARGV, 2))
return 1
`)

/**
 *     KEYS  leases, held, sorted, delayed, waiters
 *     ARGV  consumer; wake channel; for each delivery its number, the delay in ms, and the message that takes the place of
 *           the one that is held, or an empty string
 */
export const release: Script = defineScript(`
${CLOCK}
${STANDS}
${WAKE}
${GIVE_BACK}
local leases, held, sorted, delayed, waiters = unpack(KEYS)
if not stands(leases, ARGV[1]) then return 0 end
${GO_ON_WITHOUT_MEMORY('leases')}
local soon = false
for at = 3, #ARGV, 3 do
  local tag, delay, changed = ARGV[at], tonumber(ARGV[at + 1]), ARGV[at + 2]
  local message = redis.call('HGET', held, tag)
  if message then
    redis.call('HDEL', held, tag)
    if changed ~= '' then message = changed end
    if delay <= 0 then
      giveBack(sorted, message, tag, 0)
    else
      local priority, deliveries, order = place(message, tag)
      redis.call('ZADD', delayed, now + math.ceil(delay), placed(message, priority, deliveries, order))
    end
    soon = soon or delay <= 1000
  end
end
if soon then wake(waiters, leases, ARGV[2], '') end
return 1
`)

/**
 *     KEYS  leases, held, dead, died
 *     ARGV  consumer; for each delivery its number, the job's id, the reason, and the message or an empty string as above
 *
 * A dead letter is its reason behind its length (u32), and the message.
 */
export const reject: Script = defineScript(`
${CLOCK}
${STANDS}
local leases, held, dead, died = unpack(KEYS)
if not stands(leases, ARGV[1]) then return 0 end
${GO_ON_WITHOUT_MEMORY('leases')}
for at = 2, #ARGV, 4 do
  local tag, id, reason, changed = unpack(ARGV, at, at + 3)
  local message = redis.call('HGET', held, tag)
  if message then
    redis.call('HDEL', held, tag)
    if changed ~= '' then message = changed end
    if redis.call('HEXISTS', dead, id) == 1 then id = id .. '\\n' .. tag end
    redis.call('HSET', dead, id, struct.pack('>I4', #reason) .. reason .. message)
    redis.call('ZADD', died, nowUs + at, id)
  end
end
return 1
`)
