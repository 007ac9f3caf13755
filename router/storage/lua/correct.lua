-- Appends a correction of a request that is closed, and changes its session's balance by the same amount.
-- KEYS  1 session, 2 mark of the last correction, 3 closed mark, 4 reservation, 5 outbox
-- ARGV  1 request, 2 what it cost so far, 3 what it costs now, 4 outcome (JSON), 5 owner, 6 its periods, 7 lines that the ledger had,
--       8 how long the mark is kept (s), 9 entries that the outbox may hold, 10 digest of the outcome's lines
-- Returns `booked`; `open` (not settled), `repeated` (this correction is on its way), `changed` (another one is), `full`

local LARGEST = 9007199254740991 -- 2^53 - 1, the last number a Lua double holds exactly
local was, now = tonumber(ARGV[2]), tonumber(ARGV[3])

if redis.call('EXISTS', KEYS[4]) == 1 then
  return 'open'
end
local seen = redis.call('GET', KEYS[2])
if seen then
  local lines, cost, digest = string.match(seen, '^(%d+) (%d+) ?(%x*)$')
  if tonumber(lines) >= tonumber(ARGV[7]) then
    return tonumber(cost) == now and digest == ARGV[10] and 'repeated' or 'changed'
  end
end
local closed = redis.call('GET', KEYS[3])
if closed then
  local state, max_cost, cost, rest = string.match(closed, '^(%a+) (%-?%d+) (%d+)( .*)$')
  if tonumber(cost) ~= was then
    return 'changed' -- what came late has not reached the ledger
  end
  if redis.call('XLEN', KEYS[5]) >= tonumber(ARGV[9]) then
    return 'full'
  end
  redis.call('SET', KEYS[3], state .. ' ' .. max_cost .. ' ' .. string.format('%.0f', now) .. rest, 'KEEPTTL')
elseif redis.call('XLEN', KEYS[5]) >= tonumber(ARGV[9]) then
  return 'full'
end
redis.call('SET', KEYS[2], ARGV[7] .. ' ' .. string.format('%.0f', now) .. ' ' .. ARGV[10], 'EX', ARGV[8])
local amount = string.format('%.0f', now - was)
redis.call('XADD', KEYS[5], '*', 'r', ARGV[4], 'c', '1', 'q', ARGV[1], 'w', ARGV[5], 'm', ARGV[6], 'n', amount)
if redis.call('EXISTS', KEYS[1]) == 1 then
  local spent = math.min(tonumber(redis.call('HGET', KEYS[1], 'spent') or 0) + now - was, LARGEST)
  redis.call('HSET', KEYS[1], 'spent', string.format('%.0f', math.max(spent, 0)))
end
return 'booked'
