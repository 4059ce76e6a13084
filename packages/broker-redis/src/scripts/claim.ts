import { defineScript, type Script } from '../script.ts'
import { CLOCK, GO_ON_WITHOUT_MEMORY, STANDS, WAKE } from './fragments.ts'

/**
 * Takes ready jobs of one or several queues into the hands of a consumer: an equal share from each queue, and what one
 * leaves goes to those behind it; but no more than 8 MiB, or one job. Makes ready what has come due. Where a queue has nothing, the consumer waits for it.
 *
 *     KEYS  for each queue: ready, sorted, delayed, order, waiters, leases, held
 *     ARGV  consumer; the number of this claim; since which number claims have had no answer; how many jobs; wake channel
 *
 * A claim whose answer was lost is made again under a new number, and gets the jobs that the lost one got. One that comes
 * late, after a newer one, gets nothing: nobody hears of its answer. Answers with nothing where a lease has ended; else for each
 * queue with the number of the first delivery (-1: it was not asked), in how many ms something comes due (-1: nothing does),
 * a consumer whose lease has run out or an empty string, and the jobs.
 */
export const claim: Script = defineScript(`
${CLOCK}
${STANDS}
${WAKE}
local COME_DUE_AT_ONCE = 1000
local AFTER_LIST = 6 * 2 ^ 48
local consumer, number, since, room, channel = ARGV[1], tonumber(ARGV[2]), tonumber(ARGV[3]), tonumber(ARGV[4]), ARGV[5]

for at = 1, #KEYS, 7 do
  if not stands(KEYS[at + 5], consumer) then return false end
end
${GO_ON_WITHOUT_MEMORY('KEYS[2]')}

-- How many of these fit into the answer; of all that a claim finds, at least one does.
local bytesLeft, isEmpty = 8 * 1024 * 1024, true
local function fitting(found)
  for i = 1, #found do
    bytesLeft = bytesLeft - #found[i]
    if bytesLeft < 0 and not isEmpty then return i - 1 end
    isEmpty = false
  end
  return #found
end

local function takeSorted(jobs, sorted, from, to, most)
  local found = redis.call('ZRANGEBYSCORE', sorted, from, to, 'LIMIT', 0, most)
  local count = fitting(found)
  if count == 0 then return end
  redis.call('ZREMRANGEBYRANK', sorted, 0, count - 1)
  for i = 1, count do jobs[#jobs + 1] = found[i] end
end

-- In growing portions: what turns out not to fit goes back, and should not be much.
local function takeListed(jobs, ready, most)
  local portion = 8
  while #jobs < most and bytesLeft > 0 do
    local asked = math.min(portion, most - #jobs)
    local found = redis.call('LPOP', ready, asked) or {}
    local count = fitting(found)
    for i = 1, count do jobs[#jobs + 1] = found[i] end
    for i = #found, count + 1, -1 do redis.call('LPUSH', ready, found[i]) end
    if #found < asked then return end
    portion = portion * 4
  end
end

local function take(ready, sorted, most)
  local jobs = {}
  local isSorted = redis.call('EXISTS', sorted) == 1
  if isSorted then takeSorted(jobs, sorted, '-inf', '(' .. string.format('%.0f', AFTER_LIST), most) end
  takeListed(jobs, ready, most)
  if isSorted and #jobs < most and bytesLeft > 0 then
    takeSorted(jobs, sorted, string.format('%.0f', AFTER_LIST), '+inf', most - #jobs)
  end
  return jobs
end

local function again(held, first, count)
  local tags = {}
  for i = 1, count do tags[i] = first + i - 1 end
  return redis.call('HMGET', held, unpack(tags))
end

local reply = {}
for at = 1, #KEYS, 7 do
  local ready, sorted, delayed, order, waiters, leases, held = unpack(KEYS, at, at + 6)
  local due = redis.call('ZRANGEBYSCORE', delayed, '-inf', now, 'LIMIT', 0, COME_DUE_AT_ONCE)
  if #due > 0 then
    redis.call('ZREMRANGEBYRANK', delayed, 0, #due - 1)
    for i = 1, #due do
      local priority, _, place = struct.unpack('>BBI6', due[i])
      redis.call('ZADD', sorted, (9 - priority) * 2 ^ 48 + place, due[i])
    end
  end
  local share = math.ceil(room / ((#KEYS - at + 1) / 7))
  local jobs, first = {}, -1
  local lastNumber, lastFirst, lastCount = 0, 0, 0
  local last = redis.call('HGET', held, '')
  if last then lastNumber, lastFirst, lastCount = struct.unpack('>I6I6I4', last) end
  if number > lastNumber then
    local entries = { '' , '' }
    if lastNumber >= since and lastCount > 0 then
      jobs, first = again(held, lastFirst, lastCount), lastFirst
    elseif share > 0 and bytesLeft > 0 then
      jobs, first = take(ready, sorted, share), 0
      if #jobs > 0 then first = redis.call('INCRBY', order, #jobs) - #jobs + 1 end
      for i = 1, #jobs do
        entries[i * 2 + 1] = first + i - 1
        entries[i * 2 + 2] = jobs[i]
      end
      if (#jobs == share or bytesLeft < 0) and (redis.call('EXISTS', ready) == 1 or redis.call('EXISTS', sorted) == 1) then
        wake(waiters, leases, channel, consumer)
      end
    end
    entries[2] = struct.pack('>I6I6I4', number, math.max(first, 0), #jobs)
    redis.call('HSET', held, unpack(entries))
  end
  room = room - #jobs
  local next = -1
  if first == 0 then
    redis.call('SADD', waiters, consumer)
    local head = redis.call('ZRANGE', delayed, 0, 0, 'WITHSCORES')
    if head[2] then next = math.max(0, head[2] - now) end
  end
  local expired = redis.call('ZRANGEBYSCORE', leases, '-inf', now, 'LIMIT', 0, 1)[1] or ''
  reply[#reply + 1] = { first, next, expired, jobs }
end
return reply
`)
