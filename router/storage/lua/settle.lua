-- Closes an admitted request: frees its hold, books what it cost, appends the outcome. Each request is closed once; the truth that
-- comes after the reaper's estimate corrects it.
-- KEYS  1 session, 2 reservation, 3 closed mark, 4 open set, 5 outbox
-- ARGV  1 mode, 2 request, 3 cost, 4 input tokens, 5 output tokens, 6 reasoning tokens, 7 outcome (JSON), 8 owner, 9 month,
--       10 how long the mark is kept (s), 11 how long the session is kept (ms)
--   mode `settle`: what a worker knows. `reap`: what the reaper estimates; only while the hold is still what the reaper saw.
--   `abandon`: a reserve whose answer never came; nothing is appended where nothing was held, and it cannot be held later.
-- Returns {state, left or -1}: `settled`, `duplicate`, `corrected`, `untraced` (neither reservation nor mark), `none`

local LARGEST = 9007199254740991 -- 2^53 - 1: balances end at the last number a Lua double holds exactly; every limit is below it
local mode, cost, input, output, reasoning = ARGV[1], tonumber(ARGV[3]), tonumber(ARGV[4]), tonumber(ARGV[5]), tonumber(ARGV[6])

local function whole(amount)
  return string.format('%.0f', amount)
end

local function mark_closed(state, max_cost)
  local text = string.format('%s %.0f %.0f %.0f %.0f %.0f', state, max_cost, cost, input, output, reasoning)
  redis.call('SET', KEYS[3], text, 'EX', ARGV[10])
end

-- Changes the session's balances by these amounts; returns what its budget has left.
local function change(max_cost, spent, held, taken, spoken, thought, held_input, held_output)
  local s = redis.call('HMGET', KEYS[1], 'spent', 'held', 'in', 'out', 'reasoning', 'hin', 'hout')
  local function sum(field, amount)
    return math.min(tonumber(s[field] or 0) + amount, LARGEST)
  end
  spent, held = sum(1, spent), sum(2, held)
  redis.call('HSET', KEYS[1], 'spent', whole(spent), 'held', whole(held), 'in', whole(sum(3, taken)), 'out', whole(sum(4, spoken)),
    'reasoning', whole(sum(5, thought)), 'hin', whole(sum(6, held_input)), 'hout', whole(sum(7, held_output)))
  redis.call('PEXPIRE', KEYS[1], ARGV[11])
  return max_cost < 0 and -1 or math.max(0, math.min(max_cost, LARGEST) - spent - held)
end

local r = redis.call('HMGET', KEYS[2], 'amount', 'input', 'spoken', 'member', 'cost')
if not r[1] then
  local mark = redis.call('GET', KEYS[3])
  if mark then
    local state, max_cost, was_cost, was_input, was_output, was_reasoning =
      string.match(mark, '^(%a+) (%-?%d+) (%d+) (%d+) (%d+) (%d+)$')
    max_cost = tonumber(max_cost)
    if mode ~= 'settle' or state ~= 'reaped' then
      local s = redis.call('HMGET', KEYS[1], 'spent', 'held')
      local left = math.min(max_cost, LARGEST) - tonumber(s[1] or 0) - tonumber(s[2] or 0)
      return {'duplicate', max_cost < 0 and -1 or math.max(0, left)}
    end
    mark_closed('settled', max_cost)
    redis.call('XADD', KEYS[5], '*', 'r', ARGV[7], 'c', '1', 'q', ARGV[2], 'w', ARGV[8], 'm', ARGV[9], 'n', whole(cost - was_cost))
    local left = change(max_cost, cost - was_cost, 0, input - was_input, output - was_output, reasoning - was_reasoning, 0, 0)
    return {'corrected', left}
  end
  if mode == 'reap' then
    return {'none', -1}
  end
  mark_closed('settled', -1)
  if mode == 'abandon' then
    return {'none', -1}
  end
  redis.call('XADD', KEYS[5], '*', 'r', ARGV[7], 'q', ARGV[2], 'w', ARGV[8], 'm', ARGV[9], 'n', ARGV[3])
  return {'untraced', change(-1, cost, 0, input, output, reasoning, 0, 0)}
end

if mode == 'reap' and tonumber(r[1]) ~= cost then
  return {'none', -1}
end
local max_cost = tonumber(r[5])
redis.call('DEL', KEYS[2])
redis.call('ZREM', KEYS[4], r[4])
mark_closed(mode == 'reap' and 'reaped' or 'settled', max_cost)
redis.call('XADD', KEYS[5], '*', 'r', ARGV[7], 'q', ARGV[2], 'w', ARGV[8], 'm', ARGV[9], 'n', ARGV[3])
return {'settled', change(max_cost, cost, 0 - r[1], input, output, reasoning, 0 - r[2], 0 - r[3])}
