-- Adds what a replica has counted of breakers, and tells what all replicas have counted. Held to
-- the reference in protocol/tests/counter.rs.
--
-- KEYS: of each breaker its hash, and the hash of its counts.
-- ARGV: 1 the deadline (microseconds; 0: none), 2 for how many milliseconds counts are kept, then
-- of each breaker the fence that the caller has seen (number and token) and the number of its
-- rules, and of each rule its name, the width of a bucket (microseconds), and how many calls were
-- counted, and how many of them bad.
--
-- Returns: of each breaker the status, and if that is `counted`, when the counts have begun (0 if
-- that is not known), and of each rule all calls in the window, and the bad ones. The statuses are
-- `late`, `stale` (the fence is not the server's) and `broken` (the keys hold something else).

-- A window is so many buckets, the newest included.
local BUCKETS = 20
local NO_TOKEN = '0000000000000000'

local time = redis.call('TIME')
local now = tonumber(time[1]) * 1000000 + tonumber(time[2])
local deadline, kept = tonumber(ARGV[1]), ARGV[2]
local is_late = deadline ~= 0 and now > deadline

local function text(number) return string.format('%.0f', number) end

local at = 2
local function next_argument()
  at = at + 1
  return ARGV[at]
end

-- A field of a hash; `BROKEN` if the key holds something else.
local BROKEN = {}
local function get(key, field)
  local value = redis.pcall('HGET', key, field)
  if type(value) ~= 'table' then return value end
  if string.find(value.err, 'WRONGTYPE', 1, true) then return BROKEN end
  return redis.call('HGET', key, field)
end

-- The sums of the rule of this name; what is not in its window is removed.
local function sums(key, fields, name, newest)
  local calls, bad = 0, 0
  for field, value in pairs(fields) do
    local rule, bucket, kind = string.match(field, '^(.*):(%d+):(%a)$')
    if rule == name then
      bucket = tonumber(bucket)
      if bucket > newest or bucket <= newest - BUCKETS then
        redis.call('HDEL', key, field)
      elseif kind == 'c' then
        calls = calls + tonumber(value)
      else
        bad = bad + tonumber(value)
      end
    end
  end
  return calls, bad
end

local answers = {}
for i = 1, #KEYS, 2 do
  local breaker, counts = KEYS[i], KEYS[i + 1]
  local number, token, rules = next_argument(), next_argument(), tonumber(next_argument())
  local first = at
  at = at + 4 * rules
  local answer = {}
  local stored_number, stored_token = get(breaker, 'n'), get(breaker, 't')
  local fence = get(counts, 'fence')
  if is_late then
    answer[1] = 'late'
  elseif stored_number == BROKEN or fence == BROKEN then
    answer[1] = 'broken'
  elseif (stored_number or '0') ~= number or (stored_token or NO_TOKEN) ~= token then
    answer[1] = 'stale'
  else
    answer[1] = 'counted'
    -- Counts belong to a state. A full server refuses the first command that takes memory, but none
    -- after one that has written: so that comes first.
    if fence ~= number .. ':' .. token then
      local before = redis.call('HGETALL', counts)
      redis.call('HSET', counts, 'fence', number .. ':' .. token, 'begun', text(now))
      for f = 1, #before, 2 do
        if before[f] ~= 'fence' and before[f] ~= 'begun' then
          redis.call('HDEL', counts, before[f])
        end
      end
    end
    local newest = {}
    for rule = 0, rules - 1 do
      local name, width = ARGV[first + 4 * rule + 1], tonumber(ARGV[first + 4 * rule + 2])
      local calls, bad = ARGV[first + 4 * rule + 3], ARGV[first + 4 * rule + 4]
      newest[rule] = math.floor(now / width)
      local prefix = name .. ':' .. text(newest[rule])
      if calls ~= '0' then redis.call('HINCRBY', counts, prefix .. ':c', calls) end
      if bad ~= '0' then redis.call('HINCRBY', counts, prefix .. ':b', bad) end
    end
    redis.call('PEXPIRE', counts, kept)
    local fields, flat = {}, redis.call('HGETALL', counts)
    for f = 1, #flat, 2 do fields[flat[f]] = flat[f + 1] end
    answer[2] = fields.begun or '0'
    for rule = 0, rules - 1 do
      local calls, bad = sums(counts, fields, ARGV[first + 4 * rule + 1], newest[rule])
      answer[#answer + 1] = text(calls)
      answer[#answer + 1] = text(bad)
    end
  end
  answers[#answers + 1] = answer
end
return { text(now), answers }
