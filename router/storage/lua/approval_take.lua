-- Uses an approval, once, for what it was given for and nothing else.
-- KEYS  1 approval, 2 kept answer, 3 the same calls of the same body, 4 the same calls denied, 5 open ones of the shard, 6 news for SQL,
--       7 open ones of the session, 8 session
-- ARGV  1 id, 2 now (ms), 3 app, 4 session, 5 body or '', 6 revision
-- Returns {session, revision, calls, answer (encrypted) or ''}, or nothing

local found = redis.call('HMGET', KEYS[1], 's', 'exp', 'app', 'session', 'body', 'rev', 'task', 'calls')
if found[1] ~= 'approved' or tonumber(ARGV[2]) >= tonumber(found[2]) or redis.call('HEXISTS', KEYS[8], 'ended') == 1 then
  return false
end
if found[3] ~= ARGV[3] or found[4] ~= ARGV[4] or found[6] ~= ARGV[6] then
  return false
end
if ARGV[5] == '' and found[7] == '1' or ARGV[5] ~= '' and found[5] ~= ARGV[5] then
  return false
end
local kept = redis.call('GET', KEYS[2])
if not kept and found[7] == '0' then
  return false
end
redis.call('HSET', KEYS[1], 's', 'used', 'over', ARGV[2])
redis.call('DEL', KEYS[2], KEYS[3])
redis.call('ZREM', KEYS[5], ARGV[1])
redis.call('SADD', KEYS[6], ARGV[1])
return {found[4], found[6], found[8], kept or ''}
