-- Takes or frees an owner's lease by itself, where the owner's periods and the session lie on different servers.
-- KEYS  1-3 the owner's month, and three for each other period of theirs
-- ARGV  1 request, 2 fixed amount (-1: free the lease), 3 per output token, 4 output tokens, 5 least, 6 now (ms), 7 expiry (ms),
--       then the limit of each period (-1: none)
-- Returns {'held', output tokens}, {'freed'}, or of a period, by its number from 0, {'owner', limit, spent, held, needed, number} or
--       {'unknown', number}

local fixed, per_token, output, least = tonumber(ARGV[2]), tonumber(ARGV[3]), tonumber(ARGV[4]), tonumber(ARGV[5])
if fixed < 0 then
  for at = 1, #KEYS, 3 do
    free_lease(KEYS[at], KEYS[at + 1], KEYS[at + 2], ARGV[1])
  end
  return {'freed'}
end
for at = 1, #KEYS, 3 do
  local number = (at - 1) / 3
  local limit = tonumber(ARGV[8 + number])
  if limit >= 0 then
    if number > 0 and not is_counted(KEYS[at]) then
      return {'unknown', number}
    end
    local spent, held, room = owner_room(KEYS[at], KEYS[at + 1], KEYS[at + 2], ARGV[1], limit, ARGV[6])
    if fixed + output * per_token > room then
      if per_token == 0 or fixed + least * per_token > room then
        return {'owner', limit, spent, held, fixed + least * per_token, number}
      end
      local rest = room - fixed
      output = (rest - math.fmod(rest, per_token)) / per_token
    end
  end
end
for at = 1, #KEYS, 3 do
  if tonumber(ARGV[8 + (at - 1) / 3]) >= 0 then
    take_lease(KEYS[at], KEYS[at + 1], KEYS[at + 2], ARGV[1], fixed + output * per_token, ARGV[7])
  end
end
return {'held', output}
