-- Takes or renews the place of the one drainer; gives it up where the time is 0.
-- KEYS  1 place         ARGV  1 who, 2 for how long (ms)
-- Returns 1 where `who` has the place now

local holder = redis.call('GET', KEYS[1])
if holder and holder ~= ARGV[1] then
  return 0
end
if ARGV[2] == '0' then
  redis.call('DEL', KEYS[1])
  return 0
end
redis.call('SET', KEYS[1], ARGV[1], 'PX', ARGV[2])
return 1
