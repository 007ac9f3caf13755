-- Decides on what waits, once. What was denied is kept no longer, and stands for the same calls until it would have expired.
-- KEYS  1 approval, 2 kept answer, 3 the same calls of the same body, 4 the same calls denied, 5 open ones of the shard, 6 news for SQL,
--       7 open ones of the session, 8 session
-- ARGV  1 id, 2 now (ms), 3 approved | denied, 4 by whom, 5 by which way, 6 note
-- Returns {'decided'}, or {the state that it is in instead}

local found = redis.call('HMGET', KEYS[1], 's', 'exp')
if not found[1] then
  return {'unknown'}
end
if found[1] ~= 'pending' then
  return {found[1]}
end
if tonumber(ARGV[2]) >= tonumber(found[2]) then
  return {'expired'}
end
if ARGV[3] == 'approved' and redis.call('HEXISTS', KEYS[8], 'ended') == 1 then
  return {'ended'}
end
redis.call('HSET', KEYS[1], 's', ARGV[3], 'by', ARGV[4], 'at', ARGV[2], 'via', ARGV[5], 'note', ARGV[6])
if ARGV[3] == 'denied' then
  redis.call('DEL', KEYS[2], KEYS[3])
  redis.call('SET', KEYS[4], ARGV[1])
  redis.call('PEXPIREAT', KEYS[4], found[2])
  redis.call('ZREM', KEYS[5], ARGV[1])
end
redis.call('ZREM', KEYS[7], ARGV[1])
redis.call('SADD', KEYS[6], ARGV[1])
return {'decided'}
