-- Replaces the hold of an open request by another amount, or says which limit stands in the way.
-- KEYS  1 session, 2 reservation, then, where all keys lie on one server: 3-5 the owner's month, and three for each other period of theirs
-- ARGV  1 request, 2 amount, 3 now (ms), 4 lease expiry (ms)
-- Returns {'held', amount, left or -1}, {'gone'}, {'ended', reason}, {limit name, limit, used, held, needed}, or of an owner's
--       period, by its number from 0, {'owner', limit, used, held, needed, number}

local amount = tonumber(ARGV[2])
local r = redis.call('HMGET', KEYS[2], 'amount', 'cost', 'hard', 'others')
if not r[1] then
  return {'gone'}
end
local s = redis.call('HMGET', KEYS[1], 'ended', 'spent', 'held')
if s[1] then
  return {'ended', s[1]}
end
local spent, others = tonumber(s[2] or 0), tonumber(s[3] or 0) - tonumber(r[1])
local max_cost, owner_limit = tonumber(r[2]), tonumber(r[3])
local limit = max_cost >= 0 and math.min(max_cost, LARGEST) or LARGEST
if amount > limit - spent - others then
  return {'cost', limit, spent, others, amount}
end
if owner_limit >= 0 and KEYS[3] then
  local owner_spent, owner_held, room = owner_room(KEYS[3], KEYS[4], KEYS[5], ARGV[1], owner_limit, ARGV[3])
  if amount > room then
    return {'owner', owner_limit, owner_spent, owner_held, amount, 0}
  end
end
local periods = {}
if r[4] and KEYS[3] then
  for limit_there in string.gmatch(r[4], '%S+') do
    table.insert(periods, tonumber(limit_there))
  end
end
for number, limit_there in ipairs(periods) do
  local at = 3 + 3 * number
  if limit_there >= 0 then
    local owner_spent, owner_held, room = owner_room(KEYS[at], KEYS[at + 1], KEYS[at + 2], ARGV[1], limit_there, ARGV[3])
    if amount > room then
      return {'owner', limit_there, owner_spent, owner_held, amount, number}
    end
  end
end
if owner_limit >= 0 and KEYS[3] then
  take_lease(KEYS[3], KEYS[4], KEYS[5], ARGV[1], amount, ARGV[4])
end
for number, limit_there in ipairs(periods) do
  local at = 3 + 3 * number
  if limit_there >= 0 then
    take_lease(KEYS[at], KEYS[at + 1], KEYS[at + 2], ARGV[1], amount, ARGV[4])
  end
end
local left = max_cost >= 0 and limit - spent - others - amount or -1
redis.call('HSET', KEYS[1], 'held', whole(others + amount))
redis.call('HSET', KEYS[2], 'amount', whole(amount), 'left', whole(left))
return {'held', amount, left}
