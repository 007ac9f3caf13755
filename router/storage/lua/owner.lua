-- Leases on an owner's month, or another period. Amounts travel as decimal strings, HINCRBY does the sums; no double is ever printed by itself.

local LARGEST = 9007199254740991 -- 2^53 - 1, the last number a Lua double holds exactly

local function whole(amount)
  return string.format('%.0f', amount)
end

-- Frees the lease of a request; 0 where it holds none.
local function free_lease(balances, leases, expiry, request)
  local amount = redis.call('HGET', leases, request)
  if not amount then
    return 0
  end
  redis.call('HDEL', leases, request)
  redis.call('ZREM', expiry, request)
  redis.call('HINCRBY', balances, 'held', whole(0 - amount)) -- not `-amount`: minus zero prints as -0, which is no integer to Redis
  return tonumber(amount)
end

-- Whether what was spent in a period before is in its balance. A month is booked from its first request on, whether it is limited or not;
-- another period is added up from the ledger when somebody first sets a limit for it.
local function is_counted(balances)
  return redis.call('HEXISTS', balances, 'counted') == 1
end

-- Spent, held by others, and what a request may still lease under a limit. Leases that outlived their day are dropped first.
local function owner_room(balances, leases, expiry, request, limit, now)
  for _, late in ipairs(redis.call('ZRANGEBYSCORE', expiry, '-inf', now, 'LIMIT', 0, 100)) do
    free_lease(balances, leases, expiry, late)
  end
  local found = redis.call('HMGET', balances, 'spent', 'held')
  local spent = tonumber(found[1] or 0)
  local held = tonumber(found[2] or 0) - tonumber(redis.call('HGET', leases, request) or 0)
  return spent, held, math.min(limit, LARGEST) - spent - held
end

-- Leases an amount to a request in place of what it leased before.
local function take_lease(balances, leases, expiry, request, amount, until_ms)
  free_lease(balances, leases, expiry, request)
  redis.call('HSET', leases, request, whole(amount))
  redis.call('ZADD', expiry, until_ms, request)
  redis.call('HINCRBY', balances, 'held', whole(amount))
end
