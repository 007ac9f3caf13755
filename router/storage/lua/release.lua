-- Lets tool calls through: what they add is in the session from now on, and only if it still holds what they were judged by.
-- KEYS  1 session, 2 its calls
-- ARGV  what the calls were judged by: 1 integrity, 2 confidentiality, 3 capabilities used, 4 tools used; the same after them: 5-8;
--       9 how many calls the session may make (-1: any number), 10 how long the session is kept (ms), 11 how many calls are remembered,
--       12 drift (thousandths), 13 how many calls have been answered, then two for each of these: its number, what is remembered of it;
--       then one for each call that is let through: what is remembered of it
-- Returns {'released'}, {'changed'}, {'ended', reason} or {'calls', limit, used}

local s = redis.call('HMGET', KEYS[1], 'ended', 'i', 'c', 'u', 'ut', 'nc', 'v', 'f', 'dr')
if s[1] then
  return {'ended', s[1]}
end
if (s[2] or '0') ~= ARGV[1] or (s[3] or '0') ~= ARGV[2] or (s[4] or '0') ~= ARGV[3] or (s[5] or '') ~= ARGV[4] then
  return {'changed'}
end
local answered, count = tonumber(ARGV[13]), tonumber(s[6] or 0)
local first = 14 + 2 * answered
local new, most = #ARGV - first + 1, tonumber(ARGV[9])
if most >= 0 and count + new > most then
  return {'calls', most, count}
end

-- Nothing can fail from here on.
for at = 14, first - 1, 2 do
  if redis.call('HEXISTS', KEYS[2], ARGV[at]) == 1 then
    redis.call('HSET', KEYS[2], ARGV[at], ARGV[at + 1])
  end
end
local kept = tonumber(ARGV[11])
for at = first, #ARGV do
  count = count + 1
  redis.call('HSET', KEYS[2], string.format('%.0f', count), ARGV[at])
  redis.call('HDEL', KEYS[2], string.format('%.0f', count - kept))
end
local rises = ARGV[5] ~= ARGV[1] or ARGV[6] ~= ARGV[2]
local version, left = tonumber(s[7] or 0), tonumber(s[8] or s[3] or 0)
if rises then
  version = version + 1
  if ARGV[6] ~= ARGV[2] then  -- what a tool may bring is not masked away by what is found in it
    left = math.max(left, tonumber(ARGV[6]))
  end
end
redis.call('HSET', KEYS[1], 'i', ARGV[5], 'c', ARGV[6], 'u', ARGV[7], 'ut', ARGV[8], 'nc', string.format('%.0f', count),
  'v', string.format('%.0f', version), 'f', string.format('%.0f', left),
  'dr', string.format('%.0f', math.max(tonumber(s[9] or 0), tonumber(ARGV[12]))))
redis.call('PEXPIRE', KEYS[1], ARGV[10])
if count > 0 then
  redis.call('PEXPIRE', KEYS[2], ARGV[10])
end
return {'released'}
