import { defineScript, type Script } from '../script.ts'
import { CLOCK, IS_JOB, PROBE, WAKE } from './fragments.ts'

/**
 * A queue's figures: how many are ready, delayed and dead, and the consumers whose leases stand, and have run out.
 *
 *     KEYS  ready, sorted, delayed, leases, died
 */
export const figures: Script = defineScript(`
${CLOCK}
local ready, sorted, delayed, leases, died = unpack(KEYS)
local due = redis.call('ZCOUNT', delayed, '-inf', now)
return {
  redis.call('LLEN', ready) + redis.call('ZCARD', sorted) + due,
  redis.call('ZCARD', delayed) - due,
  redis.call('ZCARD', died),
  redis.call('ZRANGEBYSCORE', leases, '(' .. now, '+inf'),
  redis.call('ZRANGEBYSCORE', leases, '-inf', now),
}
`)

/**
 * How many jobs each of these consumers holds.
 *
 *     KEYS  held, of each
 */
export const countHeld: Script = defineScript(`
local counts = {}
for i, held in ipairs(KEYS) do
  counts[i] = redis.call('HLEN', held) - redis.call('HEXISTS', held, '')
end
return counts
`)

/**
 * The jobs that wait: the ready ones in the order in which they will run, and the delayed ones with when they will be ready.
 *
 *     KEYS  ready, sorted, delayed
 *     ARGV  how many of each at most
 */
export const peek: Script = defineScript(`
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
 * Deletes what waits, and answers with how many jobs that was.
 *
 *     KEYS  ready, sorted, delayed
 */
export const purge: Script = defineScript(`
local count = redis.call('LLEN', KEYS[1]) + redis.call('ZCARD', KEYS[2]) + redis.call('ZCARD', KEYS[3])
redis.call('UNLINK', unpack(KEYS))
return count
`)

/**
 * Deletes jobs by their ids from a stretch of what waits; answers with how many it has looked at and how many were deleted.
 * The list is looked through from its end: what workers take meanwhile does not move what is yet to be seen.
 *
 *     KEYS  the list or sorted set
 *     ARGV  how many from the end were looked at before; how many to look at; the ids
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
 * The newest dead letters: the field, when it died in µs, and the letter, of each.
 *
 *     KEYS  dead, died
 *     ARGV  how many at most
 */
export const listDead: Script = defineScript(`
local reply = {}
local found = redis.call('ZREVRANGE', KEYS[2], 0, ARGV[1] - 1, 'WITHSCORES')
for i = 1, #found, 2 do
  reply[#reply + 1] = found[i]
  reply[#reply + 1] = found[i + 1]
  reply[#reply + 1] = redis.call('HGET', KEYS[1], found[i]) or ''
end
return reply
`)

/** `chooseDead` returns the fields that the arguments name, and the letters that exist. `removeDead` removes fields. */
const CHOOSE_DEAD = `
local function chooseDead(dead, died, from)
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
 * Deletes dead letters; answers with how many.
 *
 *     KEYS  dead, died
 *     ARGV  either oldest, and how many; or these, and the ids
 */
export const purgeDead: Script = defineScript(`
${CHOOSE_DEAD}
local dead, died = unpack(KEYS)
local fields, letters = chooseDead(dead, died, 1)
${PROBE.sorted('died')}
removeDead(dead, died, fields)
return #letters
`)

/**
 * Puts dead letters back among the ready jobs, behind all of their priority, as if never delivered; answers with how many.
 * What is no job goes to the list as it is: its next consumer rejects it again.
 *
 *     KEYS  dead, died, ready, sorted, order, waiters, leases
 *     ARGV  wake channel; then as above
 */
export const requeueDead: Script = defineScript(`
${CLOCK}
${WAKE}
${IS_JOB}
${CHOOSE_DEAD}
local dead, died, ready, sorted, order, waiters, leases = unpack(KEYS)
local fields, letters = chooseDead(dead, died, 2)
${PROBE.sorted('died')}
${PROBE.hash('dead')}
${PROBE.sorted('sorted')}
local plain, placed = {}, {}
for _, letter in ipairs(letters) do
  local message = letter
  if #letter >= 4 then message = string.sub(letter, 5 + struct.unpack('>I4', letter)) end
  if not isJob(message) then
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
