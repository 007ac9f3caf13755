-- Makes ids and conversation prefixes lead to a session. A prefix may lead to several: it then carries the labels all of them had.
-- KEYS  issued ids, then prefixes
-- ARGV  1 how many keys are issued ids, 2 what they lead to, 3 session, 4 integrity, 5 confidentiality, 6 how many sessions a prefix
--       names at most, 7 how long it is kept (s), 8 the sensitivity of what has left the session
-- A prefix holds `integrity confidentiality/left session…`; `*` in the place of the sessions that were too many to name. Without `/left`
-- all has left as it was sent.

local issued = tonumber(ARGV[1])
for at = 1, issued do
  redis.call('SET', KEYS[at], ARGV[2], 'EX', ARGV[7])
end
for at = issued + 1, #KEYS do
  local integrity, confidentiality, left, sessions = tonumber(ARGV[4]), tonumber(ARGV[5]), tonumber(ARGV[8]), ''
  local before = redis.call('GET', KEYS[at])
  if before then
    local i, c, f, names = string.match(before, '^(%d+) (%d+)/?(%d*) (.*)$')
    integrity, confidentiality, sessions = math.max(integrity, tonumber(i)), math.max(confidentiality, tonumber(c)), names
    left = math.max(left, tonumber(f) or tonumber(c))
  end
  local known, count = false, 0
  for name in string.gmatch(sessions, '%S+') do
    known = known or name == ARGV[3]
    count = count + 1
  end
  if not known and count <= tonumber(ARGV[6]) then
    local name = count < tonumber(ARGV[6]) and ARGV[3] or '*'
    sessions = count > 0 and sessions .. ' ' .. name or name
  end
  redis.call('SET', KEYS[at], integrity .. ' ' .. confidentiality .. '/' .. left .. ' ' .. sessions, 'EX', ARGV[7])
end
