-- Books settlements on an owner's month, each outbox entry once: entries of a shard come in order, so the last one booked is enough
-- to know which came before.
-- KEYS  1-3 the owner's month
-- ARGV  1 how long the month is kept (s), then per entry: shard, milliseconds and sequence of its id, request, amount
-- Returns how many were booked

local booked, last = 0, {}
for at = 2, #ARGV, 5 do
  local field = 'last' .. ARGV[at]
  local ms, sequence = tonumber(ARGV[at + 1]), tonumber(ARGV[at + 2])
  if not last[field] then
    local was = redis.call('HGET', KEYS[1], field) or '0-0'
    local was_ms, was_sequence = string.match(was, '^(%d+)%-(%d+)$')
    last[field] = {tonumber(was_ms), tonumber(was_sequence)}
  end
  local was = last[field]
  if ms > was[1] or ms == was[1] and sequence > was[2] then
    free_lease(KEYS[1], KEYS[2], KEYS[3], ARGV[at + 3])
    if redis.call('HINCRBY', KEYS[1], 'spent', ARGV[at + 4]) > LARGEST then
      redis.call('HSET', KEYS[1], 'spent', whole(LARGEST))
    end
    last[field] = {ms, sequence}
    booked = booked + 1
  end
end
for field, id in pairs(last) do
  redis.call('HSET', KEYS[1], field, whole(id[1]) .. '-' .. whole(id[2]))
end
for at = 1, 3 do
  redis.call('EXPIRE', KEYS[at], ARGV[1])
end
return booked
