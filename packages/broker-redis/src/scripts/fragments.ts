/**
 * What several scripts begin with. Each script is whole in itself, and touches none but its KEYS. The clock is the server's.
 *
 * None has a `#!lua` line, which Redis 6.2 does not know. Without one a script is refused for want of memory only where
 * its first write is one that may need some; those that must go on then (`GO_ON_WITHOUT_MEMORY`) begin with one that does not.
 */

/** `now`, in ms since 1970; `nowUs` likewise in µs. */
export const CLOCK = `
local clock = redis.call('TIME')
local nowUs = clock[1] * 1000000 + clock[2]
local now = math.floor(nowUs / 1000)
`

/** Removes nothing from a key, and lets the script write whatever it has to, also where `maxmemory` is reached. */
export const GO_ON_WITHOUT_MEMORY = (key: string, remove: 'ZREM' | 'HDEL' | 'SREM' = 'ZREM'): string =>
  `redis.call('${remove}', ${key}, '')\n`

/** Whether a consumer's lease has neither been ended nor run out. */
export const STANDS = `
local function stands(leases, consumer)
  local expires = redis.call('ZSCORE', leases, consumer)
  return expires and tonumber(expires) > now
end
`

/**
 * Wakes one of those that wait for a queue, if there is one; not the caller, who is awake. What is published is the name of
 * the set, which tells the queue.
 */
export const WAKE = `
local function wake(waiters, leases, channel, caller)
  local consumer = redis.call('SPOP', waiters)
  while consumer do
    if consumer ~= caller and stands(leases, consumer) then
      redis.call('PUBLISH', channel .. consumer, waiters)
      return
    end
    consumer = redis.call('SPOP', waiters)
  end
end
`

/**
 * Puts a job among the ready ones, where it stood: before all in the list of its priority, for those have never been out of
 * it. `tag` is the number of its delivery; the first that it ever had is its order.
 */
export const GIVE_BACK = `
local function place(message, tag)
  local priority, deliveries, order = struct.unpack('>BBI6', message)
  if order == 0 then order = tonumber(tag) end
  return priority, deliveries, order
end

local function placed(message, priority, deliveries, order)
  return struct.pack('>BBI6', priority, math.min(deliveries, 255), order) .. string.sub(message, 9)
end

local function giveBack(sorted, message, tag, charge)
  local priority, deliveries, order = place(message, tag)
  redis.call('ZADD', sorted, (9 - priority) * 2 ^ 48 + order, placed(message, priority, deliveries + charge, order))
end
`

/** Ends a lease. All that it held is ready again; `replaced` may hold other messages for some of it. */
export const END_LEASE = `
local function endLease(leases, held, sorted, waiters, consumer, charge, replaced)
  local entries = redis.call('HGETALL', held)
  redis.call('DEL', held)
  redis.call('ZREM', leases, consumer)
  redis.call('SREM', waiters, consumer)
  local returned = 0
  for i = 1, #entries, 2 do
    local tag = entries[i]
    if tag ~= '' then
      giveBack(sorted, replaced[tag] or entries[i + 1], tag, charge)
      returned = returned + 1
    end
  end
  return returned
end
`
