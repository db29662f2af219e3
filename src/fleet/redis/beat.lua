-- Tells whether the server still knows what it knew.
--
-- KEYS: 1 the hash of the shard. ARGV: 1 a fresh token.
-- Returns: the server's time, the token of its memory, the number of the newest news.

redis.call('HSETNX', KEYS[1], 'memory', ARGV[1])
local time = redis.call('TIME')
local now = tonumber(time[1]) * 1000000 + tonumber(time[2])
return { string.format('%.0f', now), redis.call('HGET', KEYS[1], 'memory'),
  redis.call('HGET', KEYS[1], 'news') or '0' }
