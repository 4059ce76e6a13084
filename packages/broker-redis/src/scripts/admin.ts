import { defineScript, type Script } from './script.ts'
import { CLOCK, IS_JOB, PROBE, WAKE } from './fragments.ts'

/**
 * Returns the numbers of ready, delayed and dead jobs, the consumers with a valid lease, the consumers with an expired lease, and
 * the time at which the oldest ready job was stored, in ms since 1970, or -1. It reads the first job of the list and of each
 * priority, because these are the oldest, except among jobs that were delayed or retried.
 *
 *     KEYS  ready, sorted, delayed, leases, died
 */
export const queueState: Script = defineScript(`
${CLOCK}
${IS_JOB}
local ready, sorted, delayed, leases, died = unpack(KEYS)
local due = redis.call('ZCOUNT', delayed, '-inf', now)
local ranked = redis.call('ZCARD', sorted)
local oldest = -1
local function look(found)
  if found[1] and isJob(found[1]) then
    local stored = struct.unpack('>I6', found[1], 9)
    if oldest < 0 or stored < oldest then oldest = stored end
  end
end
look(redis.call('LRANGE', ready, 0, 0))
if due > 0 then look(redis.call('ZRANGE', delayed, 0, 0)) end
if ranked > 0 then
  for rank = 0, 9 do
    local first, after = string.format('%.0f', rank * 2 ^ 48), string.format('(%.0f', (rank + 1) * 2 ^ 48)
    look(redis.call('ZRANGEBYSCORE', sorted, first, after, 'LIMIT', 0, 1))
  end
end
return {
  redis.call('LLEN', ready) + ranked + due,
  redis.call('ZCARD', delayed) - due,
  redis.call('ZCARD', died),
  redis.call('ZRANGEBYSCORE', leases, '(' .. now, '+inf'),
  redis.call('ZRANGEBYSCORE', leases, '-inf', now),
  oldest,
}
`)

/**
 * Returns the number of jobs that each of these consumers holds.
 *
 *     KEYS  for each consumer: held
 */
export const countHeldJobs: Script = defineScript(`
local counts = {}
for i, held in ipairs(KEYS) do
  counts[i] = redis.call('HLEN', held) - redis.call('HEXISTS', held, '')
end
return counts
`)

/**
 * Returns the ready jobs in the order in which they will run, in three parts, and the delayed jobs with their due times.
 *
 *     KEYS  ready, sorted, delayed
 *     ARGV  the limit for each part
 */
export const browse: Script = defineScript(`
local ready, sorted, delayed = unpack(KEYS)
local last = ARGV[1] - 1
local after = string.format('%.0f', 6 * 2 ^ 48)
return {
  redis.call('ZRANGEBYSCORE', sorted, '-inf', '(' .. after, 'LIMIT', 0, ARGV[1]),
  redis.call('LRANGE', ready, 0, last),
  redis.call('ZRANGEBYSCORE', sorted, after, '+inf', 'LIMIT', 0, ARGV[1]),
  redis.call('ZRANGE', delayed, 0, last, 'WITHSCORES'),
}
`)

/**
 * Deletes all waiting jobs and returns their number.
 *
 *     KEYS  ready, sorted, delayed
 */
export const purge: Script = defineScript(`
local count = redis.call('LLEN', KEYS[1]) + redis.call('ZCARD', KEYS[2]) + redis.call('ZCARD', KEYS[3])
redis.call('UNLINK', unpack(KEYS))
return count
`)

/**
 * Checks a part of the waiting jobs and deletes the jobs with these ids. Returns the numbers of checked and deleted jobs. The parts
 * are counted from the end, because workers take jobs from the beginning between two calls.
 *
 *     KEYS  the list or sorted set
 *     ARGV  the number of jobs at the end that are already checked; the number of jobs to check; the ids
 */
export const cancel: Script = defineScript(`
${IS_JOB}
local ids = {}
for i = 3, #ARGV do ids[ARGV[i]] = true end
local isList = redis.call('TYPE', KEYS[1]).ok == 'list'
local first, last = -ARGV[1] - ARGV[2], -ARGV[1] - 1
local found = isList and redis.call('LRANGE', KEYS[1], first, last) or redis.call('ZRANGE', KEYS[1], first, last)
local deleted = 0
for i = 1, #found do
  if isJob(found[i]) and ids[string.sub(found[i], 19, 18 + string.byte(found[i], 15))] then
    if isList then
      redis.call('LREM', KEYS[1], -1, found[i])
    else
      redis.call('ZREM', KEYS[1], found[i])
    end
    deleted = deleted + 1
  end
end
return { #found, deleted }
`)

/**
 * Checks a part of the delayed jobs, counted from the end as in `cancel`, and makes the jobs with these ids ready. Returns the
 * numbers of checked and promoted jobs.
 *
 *     KEYS  delayed, sorted, waiters, leases
 *     ARGV  prefix of the wake channels; the number of jobs at the end that are already checked; the number of jobs to check; the ids
 */
export const promote: Script = defineScript(`
${CLOCK}
${WAKE}
${IS_JOB}
local delayed, sorted, waiters, leases = unpack(KEYS)
local ids = {}
for i = 4, #ARGV do ids[ARGV[i]] = true end
local found = redis.call('ZRANGE', delayed, -ARGV[2] - ARGV[3], -ARGV[2] - 1)
local placed, moved = {}, {}
for i = 1, #found do
  if isJob(found[i]) and ids[string.sub(found[i], 19, 18 + string.byte(found[i], 15))] then
    local priority, _, place = struct.unpack('>BBI6', found[i])
    placed[#placed + 1] = (9 - priority) * 2 ^ 48 + place
    placed[#placed + 1] = found[i]
    moved[#moved + 1] = found[i]
  end
end
if #moved > 0 then
  ${PROBE.sorted('delayed')}
  redis.call('ZADD', sorted, unpack(placed))
  redis.call('ZREM', delayed, unpack(moved))
  wake(waiters, leases, ARGV[1], '')
end
return { #found, #moved }
`)

/**
 * Returns the newest dead letters: for each its field, the time of death in µs since 1970, and the letter.
 *
 *     KEYS  dead, died
 *     ARGV  the limit
 */
export const listDeadLetters: Script = defineScript(`
local reply = {}
local found = redis.call('ZREVRANGE', KEYS[2], 0, ARGV[1] - 1, 'WITHSCORES')
for i = 1, #found, 2 do
  reply[#reply + 1] = found[i]
  reply[#reply + 1] = found[i + 1]
  reply[#reply + 1] = redis.call('HGET', KEYS[1], found[i]) or ''
end
return reply
`)

/** Functions that find and remove the dead letters that the arguments select. */
const SELECT_DEAD = `
local function selectDead(dead, died, from)
  local fields = {}
  if ARGV[from] == 'oldest' then
    fields = redis.call('ZRANGE', died, 0, ARGV[from + 1] - 1)
  else
    for i = from + 1, #ARGV do fields[#fields + 1] = ARGV[i] end
  end
  local letters = {}
  for _, field in ipairs(fields) do
    local letter = redis.call('HGET', dead, field)
    if letter then letters[#letters + 1] = letter end
  end
  return fields, letters
end

local function removeDead(dead, died, fields)
  if #fields == 0 then return end
  redis.call('HDEL', dead, unpack(fields))
  redis.call('ZREM', died, unpack(fields))
end
`

/**
 * Deletes dead letters and returns their number.
 *
 *     KEYS  dead, died
 *     ARGV  either "oldest" and the number of letters, or "these" and the ids
 */
export const purgeDeadLetters: Script = defineScript(`
${SELECT_DEAD}
local dead, died = unpack(KEYS)
local fields, letters = selectDead(dead, died, 1)
${PROBE.sorted('died')}
removeDead(dead, died, fields)
return #letters
`)

/**
 * Makes dead letters ready again, after all ready jobs of their priority and with a delivery count of 0. Returns their number. A
 * letter without a valid job goes to the list unchanged, and its next consumer rejects it again.
 *
 *     KEYS  dead, died, ready, sorted, order, waiters, leases
 *     ARGV  prefix of the wake channels; then as in `purgeDeadLetters`
 */
export const requeueDeadLetters: Script = defineScript(`
${CLOCK}
${WAKE}
${IS_JOB}
${SELECT_DEAD}
local dead, died, ready, sorted, order, waiters, leases = unpack(KEYS)
local fields, letters = selectDead(dead, died, 2)
${PROBE.sorted('died')}
${PROBE.hash('dead')}
${PROBE.sorted('sorted')}
local plain, placed = {}, {}
for _, letter in ipairs(letters) do
  local version, reasonLength = 1, 0
  if #letter >= 4 then version, reasonLength = struct.unpack('>BI3', letter) end
  local isLetter = version == 0 and #letter >= 4 + reasonLength
  local message = isLetter and string.sub(letter, 5 + reasonLength) or letter
  if not isLetter or not isJob(message) then
    plain[#plain + 1] = message
  elseif string.byte(message) == 4 then
    plain[#plain + 1] = struct.pack('>BBI6', 4, 0, 0) .. string.sub(message, 9)
  else
    local priority, number = string.byte(message), redis.call('INCR', order)
    placed[#placed + 1] = (9 - priority) * 2 ^ 48 + number
    placed[#placed + 1] = struct.pack('>BBI6', priority, 0, number) .. string.sub(message, 9)
  end
end
if #plain > 0 then redis.call('RPUSH', ready, unpack(plain)) end
if #placed > 0 then redis.call('ZADD', sorted, unpack(placed)) end
removeDead(dead, died, fields)
if #letters > 0 then wake(waiters, leases, ARGV[1], '') end
return #letters
`)
