-- Ends a session: whatever comes next for it is refused. The first reason stays, what it has masked goes.
-- KEYS  1 session       ARGV  1 reason, 2 how long the end is remembered (ms)
-- Returns 1, or 0 where there is no such session

if redis.call('EXISTS', KEYS[1]) == 0 then
  return 0
end
redis.call('HSETNX', KEYS[1], 'ended', ARGV[1])
forget_masks(KEYS[1])
redis.call('PEXPIRE', KEYS[1], ARGV[2])
return 1
