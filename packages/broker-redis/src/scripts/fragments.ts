/**
 * What several scripts begin with. Each script is whole in itself, and touches none but its KEYS. The clock is the server's.
 *
 * Redis does not roll back a script that fails halfway: a missing right, a key of the wrong type. So each script reads first,
 * then stores, and removes last. Before it stores, it removes nothing (`PROBE`) by each command that it will remove with: if
 * the user lacks the right or the key has the wrong type, the script fails there. What is only a hint uses `redis.pcall`.
 * `rights.ts` and the tests read the commands of a script from its text: each is a literal, `redis.call('NAME'`.
 *
 * None has a `#!lua` line, which Redis 6.2 does not know. Without one a script is refused for want of memory only if
 * its first write is one that may need some; a script that must go on then begins with a `PROBE`, which does not.
 */

/** `now`, in ms since 1970; `nowUs` likewise in µs. */
export const CLOCK = `
local clock = redis.call('TIME')
local nowUs = clock[1] * 1000000 + clock[2]
local now = math.floor(nowUs / 1000)
`

/** Writes that change nothing, and fail if the removal from this key would fail. No field, id or member has these names. */
export const PROBE = {
  hash: (key: string): string => `redis.call('HDEL', ${key}, '\\n')`,
  set: (key: string): string => `redis.call('SREM', ${key}, '')`,
  sorted: (key: string): string => `redis.call('ZREM', ${key}, '')`,
  ranks: (key: string): string => `redis.call('ZREMRANGEBYRANK', ${key}, 1, 0)`,
  list: (key: string): string => `redis.call('LTRIM', ${key}, 0, -1)`,
}

/** Whether a consumer's lease has neither been ended nor run out. */
export const IS_LEASE_VALID = `
local function isLeaseValid(leases, consumer)
  local expires = redis.call('ZSCORE', leases, consumer)
  return expires and tonumber(expires) > now
end
`

/**
 * Wakes one of the consumers that wait for a queue, if there is one; not the caller, who is awake. What is published is the
 * name of the set, which tells the queue. A hint: consumers look by themselves once a second.
 */
export const WAKE = `
local function wake(waiters, leases, channel, caller)
  local consumer = redis.pcall('SPOP', waiters)
  while type(consumer) == 'string' do
    local expires = tonumber(redis.pcall('ZSCORE', leases, consumer))
    if consumer ~= caller and expires and expires > now then
      redis.pcall('PUBLISH', channel .. consumer, waiters)
      return
    end
    consumer = redis.pcall('SPOP', waiters)
  end
end
`

/** Whether a value has the form of a job (`message.ts`). Another program may have stored anything. */
export const IS_JOB = `
local function isJob(message)
  if #message < 18 then return false end
  local priority, _, _, _, id, headers = struct.unpack('>BBI6I6BI3', message)
  return priority <= 9 and #message >= 18 + id + headers
end
`

/**
 * Puts a job among the ready ones, where it stood: before all in the list of its priority, for those have never been out of
 * it. `tag` is the number of its delivery; the first that it ever had is its order. What is no job goes to the head of the
 * list as it is, whatever the delay: its next consumer rejects it.
 */
export const RETURN_JOB = `
${IS_JOB}
local function returnJob(ready, sorted, delayed, message, tag, charge, delay)
  if not isJob(message) then
    redis.call('LPUSH', ready, message)
    return
  end
  local priority, deliveries, order = struct.unpack('>BBI6', message)
  if order == 0 then order = tonumber(tag) or 0 end
  local placed = struct.pack('>BBI6', priority, math.min(deliveries + charge, 255), order) .. string.sub(message, 9)
  if delay > 0 then
    redis.call('ZADD', delayed, now + math.ceil(delay), placed)
  else
    redis.call('ZADD', sorted, (9 - priority) * 2 ^ 48 + order, placed)
  end
end
`

/** Ends a lease. All that it held is ready again; `replaced` may hold other messages for some of it. */
export const END_LEASE = `
local function endLease(leases, held, ready, sorted, waiters, consumer, charge, replaced)
  local entries = redis.call('HGETALL', held)
  ${PROBE.sorted('leases')}
  ${PROBE.hash('held')}
  redis.pcall('SREM', waiters, consumer)
  local returned = 0
  for i = 1, #entries, 2 do
    local tag = entries[i]
    if tag ~= '' then
      returnJob(ready, sorted, nil, replaced[tag] or entries[i + 1], tag, charge, 0)
      returned = returned + 1
    end
  end
  for i = 1, #entries, 2 do redis.call('HDEL', held, entries[i]) end
  redis.call('ZREM', leases, consumer)
  return returned
end
`
