/**
 * Lua functions that several scripts share. A script only uses its KEYS, and the server's clock.
 *
 * Redis does not roll back a script that fails halfway, for example because of a missing right or a key of the wrong type.
 * Therefore each script reads first, stores next and removes last. Before it stores, it runs each command that it will remove with,
 * in a form that removes nothing (`PROBE`): if the user lacks the right or the key has the wrong type, the script fails there.
 * Commands that are only hints use `redis.pcall`. `rights.ts` and the tests read the commands of a script from its text, so each
 * must be a literal: `redis.call('NAME'`.
 *
 * The scripts have no `#!lua` line, because Redis 6.2 rejects it. Without this line, Redis refuses a script in a full memory only if
 * the first write may need memory. A script that must run then begins with a `PROBE`, which needs none.
 */

/** `now` is in ms since 1970, `nowUs` in µs since 1970. */
export const CLOCK = `
local clock = redis.call('TIME')
local nowUs = clock[1] * 1000000 + clock[2]
local now = math.floor(nowUs / 1000)
`

/** Writes that change nothing, and fail if a removal from this key would fail. No field, id or member has these names. */
export const PROBE = {
  hash: (key: string): string => `redis.call('HDEL', ${key}, '\\n')`,
  set: (key: string): string => `redis.call('SREM', ${key}, '')`,
  sorted: (key: string): string => `redis.call('ZREM', ${key}, '')`,
  ranks: (key: string): string => `redis.call('ZREMRANGEBYRANK', ${key}, 1, 0)`,
  list: (key: string): string => `redis.call('LTRIM', ${key}, 0, -1)`,
}

/** True if a consumer's lease was not ended and has not expired. */
export const IS_LEASE_VALID = `
local function isLeaseValid(leases, consumer)
  local expires = redis.call('ZSCORE', leases, consumer)
  return expires and tonumber(expires) > now
end
`

/**
 * Wakes one consumer that waits for a queue, except the caller. The message is the key of the set of waiters, which identifies the
 * queue. This is only a hint, because consumers poll once a second.
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

/**
 * True if a value has the format of a job (`message.ts`), in the version that this package writes. Another program may have stored
 * any value. A newer version of this package may use the bytes of the head for something else, so scripts move such a job as it is.
 */
export const IS_JOB = `
local function isJob(message)
  if #message < 18 then return false end
  local priority, _, _, _, versionAndId, headers = struct.unpack('>BBI6I6BI3', message)
  return priority <= 9 and versionAndId <= 63 and #message >= 18 + versionAndId + headers
end
`

/**
 * Returns a job to its former position: before all jobs of its priority in the list, because those were never delivered. `tag` is
 * the number of its delivery; the number of its first delivery becomes its order. A value that is not a job goes to the head of
 * the list unchanged and without a delay, and its next consumer rejects it. `lost` is added to the delivery count.
 */
export const RETURN_JOB = `
${IS_JOB}
local function returnJob(ready, sorted, delayed, message, tag, lost, delay)
  if not isJob(message) then
    redis.call('LPUSH', ready, message)
    return
  end
  local priority, deliveries, order = struct.unpack('>BBI6', message)
  if order == 0 then order = tonumber(tag) or 0 end
  local placed = struct.pack('>BBI6', priority, math.min(deliveries + lost, 255), order) .. string.sub(message, 9)
  if delay > 0 then
    redis.call('ZADD', delayed, now + math.ceil(delay), placed)
  else
    redis.call('ZADD', sorted, (9 - priority) * 2 ^ 48 + order, placed)
  end
end
`

/** Ends a lease and makes its jobs ready again. `replaced` has new messages of some jobs by delivery number. */
export const END_LEASE = `
local function endLease(leases, held, ready, sorted, waiters, consumer, lost, replaced)
  local entries = redis.call('HGETALL', held)
  ${PROBE.sorted('leases')}
  ${PROBE.hash('held')}
  redis.pcall('SREM', waiters, consumer)
  local returned = 0
  for i = 1, #entries, 2 do
    local tag = entries[i]
    if tag ~= '' then
      returnJob(ready, sorted, nil, replaced[tag] or entries[i + 1], tag, lost, 0)
      returned = returned + 1
    end
  end
  for i = 1, #entries, 2 do redis.call('HDEL', held, entries[i]) end
  redis.call('ZREM', leases, consumer)
  return returned
end
`
