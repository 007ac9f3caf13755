-- Forgets what a session has masked. The counters stay, so that no placeholder ever stands for a second value.
local function forget_masks(session)
  for _, field in ipairs(redis.call('HKEYS', session)) do
    if string.sub(field, 1, 5) == 'mask:' then
      redis.call('HDEL', session, field)
    end
  end
end

