import { defineScript, type Script } from './script.ts'
import { CLOCK, WAKE } from './fragments.ts'

/**
 * Stores jobs of one queue, except jobs whose ids were published before.
 *
 *     KEYS  ready, sorted, delayed, order, waiters, leases; then a bitmap for each run of ids
 *     ARGV  prefix of the wake channels; time to keep the ids in ms; number of jobs; the jobs, each after its length (u32); their
 *           delays in ms (u48 each), or an empty string if there are none; then for each run the first bit, the number of bits,
 *           and the bytes with these bits
 *
 * The jobs must be in the order of the runs. The script stores all jobs, or fails before it stores the first one, because the result
 * is then "refused". It stores the ids last, so that a repeated publish stores jobs that were not stored before. The first write
 * may need memory: if the memory is full, nothing is stored.
 */
export const publish: Script = defineScript(`
${CLOCK}
${WAKE}
local ready, sorted, delayed, order, waiters, leases = unpack(KEYS, 1, 6)
local channel, ttl, count, jobs, delays = unpack(ARGV, 1, 5)

local known, writes = {}, {}
-- The bytes of bitmaps after this batch, by bitmap and position, because the batch may contain an id twice.
local set = {}
local job = 0
for run = 1, #KEYS - 6 do
  local bitmap = KEYS[6 + run]
  local first, length, bits = tonumber(ARGV[3 + run * 3]), tonumber(ARGV[4 + run * 3]), ARGV[5 + run * 3]
  local from = math.floor(first / 8)
  local stored = redis.call('GETRANGE', bitmap, from, from + #bits - 1)
  if stored ~= '' or set[bitmap] then
    local before, merged = {}, {}
    for i = 1, #bits do
      before[i] = bit.bor(string.byte(stored, i) or 0, set[bitmap] and set[bitmap][from + i] or 0)
      merged[i] = string.char(bit.bor(before[i], string.byte(bits, i)))
    end
    for index = 0, length - 1 do
      local byte = before[math.floor((first + index) / 8) - from + 1]
      if bit.band(byte, bit.rshift(128, (first + index) % 8)) ~= 0 then known[job + index] = true end
    end
    bits = table.concat(merged)
  end
  if #KEYS > 7 then
    set[bitmap] = set[bitmap] or {}
    for i = 1, #bits do set[bitmap][from + i] = string.byte(bits, i) end
  end
  writes[run] = { bitmap, from, bits }
  job = job + length
end

local plain, placed, later, soon = {}, {}, {}, false
local position = 1
for index = 0, count - 1 do
  local message
  message, position = struct.unpack('>I4c0', jobs, position)
  if not known[index] then
    local delay = delays == '' and 0 or struct.unpack('>I6', delays, 1 + index * 6)
    local priority = string.byte(message)
    if delay == 0 and priority == 4 then
      plain[#plain + 1] = message
    else
      local number = redis.call('INCR', order)
      message = string.sub(message, 1, 2) .. struct.pack('>I6', number) .. string.sub(message, 9)
      if delay == 0 then
        placed[#placed + 1] = (9 - priority) * 2 ^ 48 + number
        placed[#placed + 1] = message
      else
        later[#later + 1] = now + delay
        later[#later + 1] = message
        soon = soon or delay <= 1000
      end
    end
  end
end
-- Writes that change nothing, and fail if one of the writes after them would fail.
redis.call('SETRANGE', KEYS[7], 0, '')
redis.call('PEXPIRE', KEYS[7], ttl)
if #placed > 0 then redis.call('ZADD', sorted, 'XX', 0, '') end
if #later > 0 then redis.call('ZADD', delayed, 'XX', 0, '') end

if #plain > 0 then redis.call('RPUSH', ready, unpack(plain)) end
if #placed > 0 then redis.call('ZADD', sorted, unpack(placed)) end
if #later > 0 then redis.call('ZADD', delayed, unpack(later)) end
for _, run in ipairs(writes) do
  redis.call('SETRANGE', unpack(run))
  redis.call('PEXPIRE', run[1], ttl)
end
if #plain + #placed > 0 or soon then wake(waiters, leases, channel, '') end
return count
`)
