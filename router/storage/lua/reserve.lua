-- Holds the worst case of one request and records that it was admitted, or says which limit stands in the way.
-- KEYS  1 session, 2 reservation, 3 closed mark, 4 open set, 5 outbox,
--       then, where all keys lie on one server: 6 new sessions of the app, 7-9 the owner's month, and three for each other period of theirs
-- ARGV  see RedisBudgets.reserve; -1 stands for `no limit`; from 33 on the limits of the other periods
-- Returns {'held', amount, output tokens, left or -1}, {'closed'}, {'full'}, {'ended', reason}, {'changed'},
--       {'idle' | 'total', limit, seconds}, {'rotation', limit}, {limit name, limit, used, held, needed}, or of an owner's period, by
--       its number from 0, {'owner', limit, used, held, needed, number} or {'unknown', number}

local request, now, member, integrity, confidentiality = ARGV[1], tonumber(ARGV[2]), ARGV[3], tonumber(ARGV[4]), tonumber(ARGV[5])
local fixed, per_token, wanted, least, input = tonumber(ARGV[6]), tonumber(ARGV[7]), tonumber(ARGV[8]), tonumber(ARGV[9]), tonumber(ARGV[10])
local max_cost, max_requests, max_input, max_output = tonumber(ARGV[11]), tonumber(ARGV[12]), tonumber(ARGV[13]), tonumber(ARGV[14])
local choices = tonumber(ARGV[27])
local max_idle, max_total, owner_limit, max_new = tonumber(ARGV[15]), tonumber(ARGV[16]), tonumber(ARGV[17]), tonumber(ARGV[18])

local before = redis.call('HMGET', KEYS[2], 'amount', 'output', 'left')
if before[1] then
  return {'held', tonumber(before[1]), tonumber(before[2]), tonumber(before[3])}
end
if redis.call('EXISTS', KEYS[3]) == 1 then
  return {'closed'}
end
if redis.call('XLEN', KEYS[5]) >= tonumber(ARGV[19]) then
  return {'full'}
end

local s = redis.call('HMGET', KEYS[1], 'ended', 'i', 'c', 'v', 'spent', 'held', 'n', 'created', 'last', 'in', 'out', 'hin', 'hout', 'f', 'reasoning', 'nw', 'rg')
local function number(field)
  return tonumber(s[field] or 0)
end
local created, last = tonumber(s[8] or now), tonumber(s[9] or now)

if s[1] then
  return {'ended', s[1]}
end
local forwarded = tonumber(ARGV[28])  -- what has left us, masked; a session without the field has masked nothing
local forwarded_before = tonumber(s[14] or s[3] or 0)
if number(2) > integrity or number(3) > confidentiality or forwarded_before > forwarded then
  return {'changed'}
end
if max_idle >= 0 and now - last > max_idle * 1000 then
  forget_masks(KEYS[1])
  return {'idle', max_idle, math.floor((now - last) / 1000)}
end
if max_total >= 0 and now - created > max_total * 1000 then
  forget_masks(KEYS[1])
  return {'total', max_total, math.floor((now - created) / 1000)}
end
if max_requests >= 0 and number(7) >= max_requests then
  return {'requests', max_requests, number(7), 0, 1}
end
if max_input >= 0 and number(10) + number(12) + input > max_input then
  return {'input_tokens', max_input, number(10), number(12), input}
end

local max_reasoning, max_growth, news = tonumber(ARGV[30]), tonumber(ARGV[31]), ARGV[32]
if max_reasoning >= 0 and number(15) >= max_reasoning then
  return {'reasoning_tokens', max_reasoning, number(15)}
end
if max_growth >= 0 and s[16] == news and number(15) - number(17) >= max_growth then
  return {'reasoning_growth', max_growth, number(15) - number(17)}
end

-- The output of each choice shrinks to what the tightest limit leaves, but not below `least`.
local output = wanted
if max_output >= 0 and number(11) + number(13) + output * choices > max_output then
  output = math.floor((max_output - number(11) - number(13)) / choices)
  if output < least then
    return {'output_tokens', max_output, number(11), number(13), least * choices}
  end
end
local function affordable(room)
  if fixed + output * per_token <= room then
    return true
  end
  if per_token > 0 and fixed + least * per_token <= room then
    local rest = room - fixed
    output = (rest - math.fmod(rest, per_token)) / per_token
    return true
  end
  return false
end
local spent, held = number(5), number(6)
local limit = max_cost >= 0 and math.min(max_cost, LARGEST) or LARGEST
if not affordable(limit - spent - held) then
  return {'cost', limit, spent, held, fixed + least * per_token}
end
if owner_limit >= 0 and KEYS[7] then
  local owner_spent, owner_held, room = owner_room(KEYS[7], KEYS[8], KEYS[9], request, owner_limit, now)
  if not affordable(room) then
    return {'owner', owner_limit, owner_spent, owner_held, fixed + least * per_token, 0}
  end
end
local others = KEYS[7] and #ARGV - 32 or 0
for other = 1, others do
  local at, limit_there = 7 + 3 * other, tonumber(ARGV[32 + other])
  if limit_there >= 0 then
    if not is_counted(KEYS[at]) then
      return {'unknown', other}
    end
    local owner_spent, owner_held, room = owner_room(KEYS[at], KEYS[at + 1], KEYS[at + 2], request, limit_there, now)
    if not affordable(room) then
      return {'owner', limit_there, owner_spent, owner_held, fixed + least * per_token, other}
    end
  end
end
if not s[8] and max_new >= 0 and KEYS[6] then
  if redis.call('INCR', KEYS[6]) > max_new then
    redis.call('DECR', KEYS[6])
    return {'rotation', max_new}
  end
  redis.call('EXPIRE', KEYS[6], 7200)
end

-- Nothing can fail from here on.
local amount = fixed + output * per_token
local left = max_cost >= 0 and limit - spent - held - amount or -1
if owner_limit >= 0 and KEYS[7] then
  take_lease(KEYS[7], KEYS[8], KEYS[9], request, amount, ARGV[26])
end
for other = 1, others do
  local at = 7 + 3 * other
  if tonumber(ARGV[32 + other]) >= 0 then
    take_lease(KEYS[at], KEYS[at + 1], KEYS[at + 2], request, amount, ARGV[26])
  end
end
local version = number(4)
if not s[8] or number(2) < integrity or number(3) < confidentiality or forwarded_before < forwarded then
  version = version + 1
end
redis.call('HSET', KEYS[1], 'i', ARGV[4], 'c', ARGV[5], 'f', ARGV[28], 'v', whole(version), 'held', whole(held + amount), 'n', whole(number(7) + 1),
  'created', whole(created), 'last', whole(math.max(last, now)), 'hin', whole(number(12) + input), 'hout', whole(number(13) + output * choices))
if max_growth >= 0 and s[16] ~= news then
  redis.call('HSET', KEYS[1], 'nw', news, 'rg', whole(number(15)))
end
if ARGV[29] ~= '' then
  redis.call('HSET', KEYS[1], 'ask', ARGV[29])
end
redis.call('PEXPIRE', KEYS[1], ARGV[25])
redis.call('HSET', KEYS[2], 'amount', whole(amount), 'output', whole(output), 'spoken', whole(output * choices), 'left', whole(left), 'input', ARGV[10], 'member', member,
  'cost', ARGV[11], 'session', ARGV[20], 'owner', ARGV[21], 'month', ARGV[22], 'deployment', ARGV[23], 'hard', ARGV[17])
if #ARGV > 32 then
  redis.call('HSET', KEYS[2], 'others', table.concat(ARGV, ' ', 33))
end
redis.call('ZADD', KEYS[4], now, member)
if output == wanted then
  redis.call('XADD', KEYS[5], '*', 'r', ARGV[24])
else
  redis.call('XADD', KEYS[5], '*', 'r', ARGV[24], 'h', whole(amount), 'o', whole(output))
end
return {'held', amount, output, left}
