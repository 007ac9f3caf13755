-- Keeps what waits for a person. One that the same calls wait for already, or were denied by, is given instead.
-- KEYS  1 approval, 2 kept answer, 3 the same calls of the same body, 4 the same calls denied, 5 open ones of the shard, 6 news for SQL,
--       7 open ones of the session, 8 session
-- ARGV  1 id, 2 now (ms), 3 expires (ms), 4 how long it is known (ms, epoch), 5 how many of a session may wait, 6 answer (encrypted),
--       then field and value of everything that is kept of it
-- Returns {'id', id}, {'ended', reason} or {'many', limit}

local ended = redis.call('HGET', KEYS[8], 'ended')
if ended then
  return {'ended', ended}
end
local known = redis.call('GET', KEYS[4]) or redis.call('GET', KEYS[3])
if known then
  return {'id', known}
end
redis.call('ZREMRANGEBYSCORE', KEYS[7], '-inf', ARGV[2])
if redis.call('ZCARD', KEYS[7]) >= tonumber(ARGV[5]) then
  return {'many', ARGV[5]}
end
redis.call('HSET', KEYS[1], 's', 'pending', 'exp', ARGV[3], unpack(ARGV, 7))
redis.call('PEXPIREAT', KEYS[1], ARGV[4])
if ARGV[6] ~= '' then
  redis.call('SET', KEYS[2], ARGV[6])
  redis.call('PEXPIREAT', KEYS[2], ARGV[3])
end
redis.call('SET', KEYS[3], ARGV[1])
redis.call('PEXPIREAT', KEYS[3], ARGV[3])
redis.call('ZADD', KEYS[5], ARGV[3], ARGV[1])
redis.call('ZADD', KEYS[7], ARGV[3], ARGV[1])
redis.call('PEXPIREAT', KEYS[7], ARGV[4])
redis.call('SADD', KEYS[6], ARGV[1])
return {'id', ARGV[1]}
