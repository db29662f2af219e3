-- Takes back what a replica has counted of a breaker, as far as it is still there. Held to the
-- reference in protocol/tests/counter.rs.
--
-- KEYS: 1 the hash of the breaker's counts.
-- ARGV: 1 the fence of the state that they belong to (its number, a colon and its token), 2 when
-- the counts have begun, then of each bucket its name, and how many calls, and how many of them
-- bad.
--
-- Returns: 1, or 0 if the counts are those of another state, or have begun anew.

local counts = KEYS[1]

if redis.call('HGET', counts, 'fence') ~= ARGV[1] then return 0 end
if redis.call('HGET', counts, 'begun') ~= ARGV[2] then return 0 end

local function take(field, taken)
  local left = tonumber(redis.call('HGET', counts, field) or '0') - tonumber(taken)
  -- First, so that a full server carries it out too.
  redis.call('HDEL', counts, field)
  if left > 0 then redis.call('HSET', counts, field, string.format('%.0f', left)) end
end

for i = 3, #ARGV, 3 do
  take(ARGV[i] .. ':c', ARGV[i + 1])
  take(ARGV[i] .. ':b', ARGV[i + 2])
end
return 1
