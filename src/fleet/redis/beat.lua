-- Says that a replica is there, and tells whether the server still knows what it knew.
--
-- KEYS: 1 the hash of the shard, 2 the sorted set of replicas by when they were last heard of, and
-- the streams of 3 news and 4 questions.
-- ARGV: 1 a fresh token, 2 the replica's id, 3 for how long a replica counts as present after it
-- was heard of, and 4 for how long it is kept (microseconds).
-- Returns: the server's time, the token of its memory, the number of the newest news, and how many
-- replicas are present.

local shard, replicas = KEYS[1], KEYS[2]
local presence, kept = tonumber(ARGV[3]), tonumber(ARGV[4])
-- A week and a day: longer than a fleet is stopped for, as a rule.
local KEPT_MS = 691200000

local time = redis.call('TIME')
local now = tonumber(time[1]) * 1000000 + tonumber(time[2])

local function text(number) return string.format('%.0f', number) end

redis.call('HSETNX', shard, 'memory', ARGV[1])
redis.call('ZADD', replicas, text(now), ARGV[2])
redis.call('ZREMRANGEBYSCORE', replicas, '-inf', text(now - kept))
-- The clock has gone back. Those that are there say so again within a second.
redis.call('ZREMRANGEBYSCORE', replicas, '(' .. text(now + presence), '+inf')
redis.call('PEXPIRE', replicas, text(math.floor(kept / 1000)))
-- What is left of a fleet that has been given up.
for _, key in ipairs({ shard, KEYS[3], KEYS[4] }) do redis.call('PEXPIRE', key, KEPT_MS) end
return { text(now), redis.call('HGET', shard, 'memory'), redis.call('HGET', shard, 'news') or '0',
  redis.call('ZCOUNT', replicas, text(now - presence), '+inf') }
