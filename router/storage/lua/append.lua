-- Appends a record that holds no money, unless the outbox is full.
-- KEYS  1 outbox        ARGV  1 record (JSON), 2 how many entries the outbox may hold
-- Returns 1, or 0 where the outbox is full

if redis.call('XLEN', KEYS[1]) >= tonumber(ARGV[2]) then
  return 0
end
redis.call('XADD', KEYS[1], '*', 'r', ARGV[1])
return 1
