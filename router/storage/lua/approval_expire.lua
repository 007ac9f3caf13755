-- Lets an approval that was not used in time be over, so that it is told apart from one that waits.
-- KEYS  1 approval, 2 kept answer, 3 the same calls of the same body, 4 the same calls denied, 5 open ones of the shard, 6 news for SQL,
--       7 open ones of the session, 8 session
-- ARGV  1 id, 2 now (ms)
-- Returns 1 where it has expired just now

redis.call('ZREM', KEYS[5], ARGV[1])
redis.call('ZREM', KEYS[7], ARGV[1])
local found = redis.call('HMGET', KEYS[1], 's', 'exp')
if found[1] ~= 'pending' and found[1] ~= 'approved' then
  return 0
end
if tonumber(ARGV[2]) < tonumber(found[2]) then
  redis.call('ZADD', KEYS[5], found[2], ARGV[1])
  return 0
end
redis.call('HSET', KEYS[1], 's', 'expired', 'over', ARGV[2])
redis.call('DEL', KEYS[2], KEYS[3])
redis.call('SADD', KEYS[6], ARGV[1])
return 1
