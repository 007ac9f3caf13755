-- Lets one worker at a time follow a response; it says again and again that it does.
-- KEYS  1 lease
-- ARGV  1 worker, 2 how long (ms)
-- Returns 1 where the worker has the lease, 0 where another has

local holder = redis.call('GET', KEYS[1])
if holder and holder ~= ARGV[1] then
  return 0
end
redis.call('SET', KEYS[1], ARGV[1], 'PX', ARGV[2])
return 1
