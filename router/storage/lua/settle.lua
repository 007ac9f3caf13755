-- Closes an admitted request: frees its hold, books what it cost, appends the outcome. Each request is closed once; the truth that
-- comes after the reaper's estimate corrects it.
-- KEYS  1 session, 2 reservation, 3 closed mark, 4 open set, 5 outbox
-- ARGV  1 mode, 2 request, 3 cost, 4 input tokens, 5 output tokens, 6 reasoning tokens, 7 outcome (JSON), 8 owner, 9 month,
--       10 how long the mark is kept (s), 11 how long the session is kept (ms)
--   mode `settle`: what a worker knows. `reap`: what the reaper estimates; only while the hold is still what the reaper saw.
--   `abandon`: a reserve whose answer never came; nothing is appended where nothing was held, and it cannot be held later.
-- Returns {state, left or -1}: `settled`, `duplicate`, `corrected`, `untraced` (neither reservation nor mark), `none`

local LARGEST = 9007199254740991 -- 2^53 - 1, the last number a Lua double holds exactly
local function whole(amount)
  return string.format('%.0f', amount)
end

local mode, cost, input, output, reasoning = ARGV[1], tonumber(ARGV[3]), tonumber(ARGV[4]), tonumber(ARGV[5]), tonumber(ARGV[6])
local r = redis.call('HMGET', KEYS[2], 'amount', 'input', 'output', 'member', 'cost')
local mark = not r[1] and redis.call('GET', KEYS[3])

local function left(max_cost)
  if max_cost < 0 then
    return -1
  end
  local s = redis.call('HMGET', KEYS[1], 'spent', 'held')
  return math.max(0, math.min(max_cost, LARGEST) - tonumber(s[1] or 0) - tonumber(s[2] or 0))
end

-- Balances end at the last exact number: beyond it every limit is passed anyway.
local function add(field, amount)
  if amount ~= 0 and redis.call('HINCRBY', KEYS[1], field, whole(amount)) > LARGEST then
    redis.call('HSET', KEYS[1], field, whole(LARGEST))
  end
end

local function book(booked_cost, booked_input, booked_output, booked_reasoning)
  add('spent', cost - booked_cost)
  add('in', input - booked_input)
  add('out', output - booked_output)
  add('reasoning', reasoning - booked_reasoning)
end

local function close(state, max_cost)
  local text = string.format('%s %.0f %.0f %.0f %.0f %.0f', state, max_cost, cost, input, output, reasoning)
  redis.call('SET', KEYS[3], text, 'EX', ARGV[10])
end

if mark then
  local state, max_cost, was_cost, was_input, was_output, was_reasoning =
    string.match(mark, '^(%a+) (%-?%d+) (%d+) (%d+) (%d+) (%d+)$')
  max_cost = tonumber(max_cost)
  if mode ~= 'settle' or state ~= 'reaped' then
    return {'duplicate', left(max_cost)}
  end
  book(tonumber(was_cost), tonumber(was_input), tonumber(was_output), tonumber(was_reasoning))
  close('settled', max_cost)
  redis.call('XADD', KEYS[5], '*', 'r', ARGV[7], 'c', '1', 'q', ARGV[2], 'w', ARGV[8], 'm', ARGV[9], 'n', whole(cost - was_cost))
  return {'corrected', left(max_cost)}
end

if not r[1] and mode == 'reap' or r[1] and mode == 'reap' and tonumber(r[1]) ~= cost then
  return {'none', -1}
end
local max_cost = tonumber(r[5] or -1)
close(mode == 'reap' and 'reaped' or 'settled', max_cost)
if not r[1] and mode == 'abandon' then
  return {'none', -1}
end
if r[1] then
  add('held', 0 - r[1])
  add('hin', 0 - r[2])
  add('hout', 0 - r[3])
  redis.call('ZREM', KEYS[4], r[4])
  redis.call('DEL', KEYS[2])
end
book(0, 0, 0, 0)
redis.call('PEXPIRE', KEYS[1], ARGV[11])
redis.call('XADD', KEYS[5], '*', 'r', ARGV[7], 'q', ARGV[2], 'w', ARGV[8], 'm', ARGV[9], 'n', ARGV[3])
return {r[1] and 'settled' or 'untraced', left(max_cost)}
