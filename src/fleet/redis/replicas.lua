-- Lists the replicas of a fleet.
--
-- KEYS: 1 the sorted set of replicas by when they were last heard of.
-- Returns: the server's time, and of each replica its id and when it was last heard of.

local time = redis.call('TIME')
local now = tonumber(time[1]) * 1000000 + tonumber(time[2])
local answer = { string.format('%.0f', now) }
local flat = redis.call('ZRANGE', KEYS[1], 0, -1, 'WITHSCORES')
for i = 1, #flat, 2 do
  answer[#answer + 1] = flat[i]
  answer[#answer + 1] = string.format('%.0f', tonumber(flat[i + 1]))
end
return answer
