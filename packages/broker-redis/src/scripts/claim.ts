import { defineScript, type Script } from './script.ts'
import { CLOCK, IS_JOB, PROBE, IS_LEASE_VALID, WAKE } from './fragments.ts'

/**
 * Moves ready jobs of one or several queues to a consumer. Each queue gives an equal share; if it has fewer jobs, the queues after
 * it give more. The answer has at most 8 MiB, or one job. Due jobs become ready first. If a queue has no job, the consumer is
 * added to its waiters.
 *
 *     KEYS  for each queue: ready, sorted, delayed, order, waiters, leases, held
 *     ARGV  consumer; number of this claim; number of the first claim without an answer; maximum number of jobs; prefix of the
 *           wake channels
 *
 * The consumer repeats a claim whose answer was lost under a new number, and gets the same jobs again. If a claim arrives after a
 * newer one, it gets no jobs, because the consumer does not read its answer.
 *
 * Returns nil if a lease has ended. Otherwise returns for each queue the error text if it failed, or:
 *
 *     number of the first delivery; -1 if the queue was skipped
 *     time until the next delayed job is due, in ms; -1 if there is none
 *     a consumer whose lease has expired, or an empty string
 *     the jobs
 */
export const claim: Script = defineScript(`
${CLOCK}
${IS_LEASE_VALID}
${WAKE}
${IS_JOB}
local COME_DUE_AT_ONCE = 1000
local MOST_JOBS = 1000
local AFTER_LIST = 6 * 2 ^ 48
local consumer, number, since, room, channel = ARGV[1], tonumber(ARGV[2]), tonumber(ARGV[3]), tonumber(ARGV[4]), ARGV[5]

for at = 1, #KEYS, 7 do
  if not isLeaseValid(KEYS[at + 5], consumer) then return false end
end
${PROBE.sorted('KEYS[6]')}

-- Appends the jobs that fit into the answer and returns their number. The first job of a claim always fits.
local bytesLeft, isEmpty = 8 * 1024 * 1024, true
local function append(jobs, found)
  for i = 1, #found do
    bytesLeft = bytesLeft - #found[i]
    if bytesLeft < 0 and not isEmpty then return i - 1 end
    isEmpty = false
    jobs[#jobs + 1] = found[i]
  end
  return #found
end

local function appendSorted(jobs, sorted, from, to, most)
  return append(jobs, redis.call('ZRANGEBYSCORE', sorted, from, to, 'LIMIT', 0, most))
end

-- Reads portions of growing size, so that few jobs are read that do not fit into the answer.
local function appendListed(jobs, ready, most)
  local portion, listed = 8, 0
  while #jobs < most and bytesLeft > 0 do
    local asked = math.min(portion, most - #jobs)
    local found = redis.call('LRANGE', ready, listed, listed + asked - 1)
    listed = listed + append(jobs, found)
    if #found < asked then break end
    portion = portion * 4
  end
  return listed
end

-- Returns the next jobs without removing them, and how many of them are in the sorted set and in the list.
local function find(ready, sorted, most)
  local jobs, ranked = {}, 0
  local isSorted = redis.call('EXISTS', sorted) == 1
  if isSorted then ranked = appendSorted(jobs, sorted, '-inf', '(' .. string.format('%.0f', AFTER_LIST), most) end
  local listed = appendListed(jobs, ready, most)
  if isSorted and #jobs < most and bytesLeft > 0 then
    ranked = ranked + appendSorted(jobs, sorted, string.format('%.0f', AFTER_LIST), '+inf', most - #jobs)
  end
  return jobs, ranked, listed
end

local function makeReady(ready, sorted, delayed)
  local due = redis.call('ZRANGEBYSCORE', delayed, '-inf', now, 'LIMIT', 0, COME_DUE_AT_ONCE)
  if #due == 0 then return end
  ${PROBE.ranks('delayed')}
  ${PROBE.ranks('sorted')}
  for i = 1, #due do
    if isJob(due[i]) then
      local priority, _, place = struct.unpack('>BBI6', due[i])
      redis.call('ZADD', sorted, (9 - priority) * 2 ^ 48 + place, due[i])
    else
      redis.call('LPUSH', ready, due[i])
    end
  end
  redis.call('ZREMRANGEBYRANK', delayed, 0, #due - 1)
end

local function lastClaim(held)
  local last = redis.call('HGET', held, '')
  if last and #last == 16 then return struct.unpack('>I6I6I4', last) end
  return 0, 0, 0
end

local function again(held, first, count)
  local tags = {}
  for i = 1, math.min(count, MOST_JOBS) do tags[i] = first + i - 1 end
  return redis.call('HMGET', held, unpack(tags))
end

local function claimFrom(share, ready, sorted, delayed, order, waiters, leases, held)
  makeReady(ready, sorted, delayed)
  local jobs, first, ranked, listed = {}, -1, 0, 0
  local lastNumber, lastFirst, lastCount = lastClaim(held)
  if number > lastNumber then
    local entries = { '' , '' }
    local isNew = false
    if lastNumber >= since and lastCount > 0 then
      jobs, first = again(held, lastFirst, lastCount), lastFirst
    elseif share > 0 and bytesLeft > 0 then
      isNew = true
      jobs, ranked, listed = find(ready, sorted, share)
      first = 0
      if ranked > 0 then ${PROBE.ranks('sorted')} end
      if listed > 0 then ${PROBE.list('ready')} end
      if #jobs > 0 then first = redis.call('INCRBY', order, #jobs) - #jobs + 1 end
      for i = 1, #jobs do
        entries[i * 2 + 1] = first + i - 1
        entries[i * 2 + 2] = jobs[i]
      end
    end
    entries[2] = struct.pack('>I6I6I4', number, math.max(first, 0), #jobs)
    redis.call('HSET', held, unpack(entries))
    if ranked > 0 then redis.call('ZREMRANGEBYRANK', sorted, 0, ranked - 1) end
    if listed > 0 then redis.call('LTRIM', ready, listed, -1) end
    if isNew and (#jobs == share or bytesLeft < 0) and redis.call('EXISTS', ready, sorted) > 0 then
      wake(waiters, leases, channel, consumer)
    end
  end
  room = room - #jobs
  local next = -1
  if first == 0 then
    redis.pcall('SADD', waiters, consumer)
    local head = redis.call('ZRANGE', delayed, 0, 0, 'WITHSCORES')
    if head[2] then next = math.max(0, head[2] - now) end
  end
  local expired = redis.call('ZRANGEBYSCORE', leases, '-inf', now, 'LIMIT', 0, 1)[1] or ''
  return { first, next, expired, jobs }
end

local reply = {}
for at = 1, #KEYS, 7 do
  local share = math.ceil(room / ((#KEYS - at + 1) / 7))
  local _, answer = pcall(claimFrom, share, unpack(KEYS, at, at + 6))
  if type(answer) == 'table' and answer.err then answer = answer.err end
  reply[#reply + 1] = answer
end
return reply
`)
