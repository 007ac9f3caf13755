-- Gives each value a number of its own in its session, and tells all that the session has masked. What is there stays as it is.
-- KEYS  1 session
-- ARGV  1 prefix of the fields, 2 how many values a session may hold, 3 how long they are kept where no request follows (ms),
--       then three for each value: its field, the counter of its kind, its text (encrypted)
-- Returns {'ended', reason}, or {field, `number text`, …} of the whole mapping

local ended = redis.call('HGET', KEYS[1], 'ended')
if ended then
  return {'ended', ended}
end
local most = tonumber(ARGV[2])
for at = 4, #ARGV, 3 do
  if redis.call('HEXISTS', KEYS[1], ARGV[at]) == 0 and redis.call('HLEN', KEYS[1]) < most then
    local number = redis.call('HINCRBY', KEYS[1], ARGV[at + 1], 1)
    redis.call('HSET', KEYS[1], ARGV[at], number .. ' ' .. ARGV[at + 2])
  end
end
if redis.call('PTTL', KEYS[1]) == -1 then
  redis.call('PEXPIRE', KEYS[1], ARGV[3])
end
local all, found = redis.call('HGETALL', KEYS[1]), {}
for at = 1, #all, 2 do
  if string.sub(all[at], 1, #ARGV[1]) == ARGV[1] then
    found[#found + 1] = all[at]
    found[#found + 1] = all[at + 1]
  end
end
return found
