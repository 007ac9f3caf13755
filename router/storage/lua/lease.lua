-- Takes or frees an owner's lease by itself, where the owner's month and the session lie on different servers.
-- KEYS  1-3 the owner's month
-- ARGV  1 request, 2 fixed amount (-1: free the lease), 3 per output token, 4 output tokens, 5 least, 6 limit, 7 now (ms), 8 expiry (ms)
-- Returns {'held', output tokens}, {'freed'}, or {'owner', limit, spent, held, needed}

local fixed, per_token, output, least = tonumber(ARGV[2]), tonumber(ARGV[3]), tonumber(ARGV[4]), tonumber(ARGV[5])
if fixed < 0 then
  free_lease(KEYS[1], KEYS[2], KEYS[3], ARGV[1])
  return {'freed'}
end
local spent, held, room = owner_room(KEYS[1], KEYS[2], KEYS[3], ARGV[1], tonumber(ARGV[6]), ARGV[7])
if fixed + output * per_token > room then
  if per_token == 0 or fixed + least * per_token > room then
    return {'owner', tonumber(ARGV[6]), spent, held, fixed + least * per_token}
  end
  local rest = room - fixed
  output = (rest - math.fmod(rest, per_token)) / per_token
end
take_lease(KEYS[1], KEYS[2], KEYS[3], ARGV[1], fixed + output * per_token, ARGV[8])
return {'held', output}
