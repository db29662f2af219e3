-- Carries out a command about one breaker. Held to the reference in protocol/tests/server.rs.
--
-- KEYS: 1 the breaker's hash, 2 the hash of the shard, 3 the stream of news.
-- ARGV: 1 the command, 2 its deadline (microseconds; 0: none; not for `join`), 3 and 4 the
-- fence that the caller has seen, 5 the breaker's name, then what the command needs. Tokens are
-- hexadecimal, with 16 digits. Numbers are decimal.
--
-- Returns: the status, its time (of a lease: 1 if others want it), the server's time, and the
-- record: number, token, state, until, opens, 1 if it was set by hand, and what was said about it.
--
-- A full server refuses a command that takes memory, but none after the first that has written. So
-- that nothing is half done, and a full server does not grow, what takes memory comes first.

local key, shard, news = KEYS[1], KEYS[2], KEYS[3]
local command, deadline = ARGV[1], tonumber(ARGV[2])
local seen_number, seen_token = tonumber(ARGV[3]), ARGV[4]
local name = ARGV[5]

-- How long what is of no use any more is kept.
local KEPT_MS = 86400000
local NEWS = 10000
-- Ends of one state that differ by less are the same (microseconds).
local SLACK = 500000
-- So many denials since a lease was granted, or since its holder was last told, say that another
-- replica would use it. It asks again about each second while it has calls.
local WANTED = 2
local NO_TOKEN = '0000000000000000'

local time = redis.call('TIME')
local now = tonumber(time[1]) * 1000000 + tonumber(time[2])

local function text(number) return string.format('%.0f', number) end

local hash = {}
local flat = redis.call('HGETALL', key)
for i = 1, #flat, 2 do hash[flat[i]] = flat[i + 1] end

local number = tonumber(hash.n or '0')
local token = hash.t or NO_TOKEN
local state = hash.s or 'closed'
local till = tonumber(hash.u or '0')
local opens = hash.o or '0'
-- How long the state lasts in all; '' forever.
local lasts = hash.d or ''
-- What an operator said about the state. It goes with the state, also in scripts of releases that
-- do not know the field.
local remark = hash.r or ''
-- The tokens of the last states set by hand. One that is sent again, because its answer was lost,
-- must not replace what came after it.
local by_hand = hash.h or ''
local BY_HAND = 8

local function is_by_hand(a_token) return string.find(by_hand, a_token, 1, true) ~= nil end
local function note_by_hand(a_token)
  if not is_by_hand(a_token) then
    by_hand = string.sub(a_token .. ' ' .. by_hand, 1, 17 * BY_HAND)
  end
end
local function flag() if is_by_hand(token) then return '1' else return '0' end end

-- Negative if the first fence is older. Lua compares texts by the locale of the server, in which
-- 'aa' may follow 'z', and its numbers are too short for a whole token.
local function half(a_token, from) return tonumber(string.sub(a_token, from, from + 7), 16) end
local function compare(number_a, token_a, number_b, token_b)
  if number_a ~= number_b then return number_a - number_b end
  local difference = half(token_a, 1) - half(token_b, 1)
  if difference ~= 0 then return difference end
  return half(token_a, 9) - half(token_b, 9)
end

local function keep()
  if till == 0 and state ~= 'closed' then
    redis.call('PERSIST', key)
  else
    redis.call('PEXPIREAT', key, text(math.floor(math.max(till, now) / 1000) + KEPT_MS))
  end
end

local function publish()
  local serial = redis.call('HINCRBY', shard, 'news', 1)
  local said = {}
  if remark ~= '' then said = { 'r', remark } end
  redis.call('XADD', news, 'MAXLEN', '~', NEWS, '*', 'i', text(serial), 'b', name,
    'n', text(number), 't', token, 's', state, 'u', text(till), 'd', lasts, 'o', opens,
    'h', flag(), unpack(said))
end

local KEPT_FIELDS = { n = true, t = true, s = true, u = true, d = true, o = true, h = true }

-- Votes, leases and counts belong to the state before.
local function store(new_number, new_token, new_state, new_lasts, new_opens, new_remark)
  remark = new_remark or ''
  number, token, state, lasts, opens = new_number, new_token, new_state, new_lasts, new_opens
  till = 0
  if lasts ~= '' then till = now + tonumber(lasts) end
  local fields = {
    'n', text(number), 't', token, 's', state, 'u', text(till), 'd', lasts, 'o', opens,
  }
  if by_hand ~= '' then
    fields[#fields + 1] = 'h'
    fields[#fields + 1] = by_hand
  end
  if remark ~= '' then
    fields[#fields + 1] = 'r'
    fields[#fields + 1] = remark
  end
  redis.call('HSET', key, unpack(fields))
  local others = {}
  for field in pairs(hash) do
    local is_kept = KEPT_FIELDS[field] or (field == 'r' and remark ~= '')
    if not is_kept then others[#others + 1] = field end
  end
  -- Lua unpacks a few thousand at most.
  for i = 1, #others, 1000 do
    redis.call('HDEL', key, unpack(others, i, math.min(i + 999, #others)))
  end
  keep()
  publish()
end

local function answer(status, status_time)
  return {
    status, text(status_time or 0), text(now),
    text(number), token, state, text(till), opens, flag(), remark,
  }
end

local function state_now()
  if till ~= 0 and till <= now then
    if state == 'open' then return 'half_open' end
    return 'closed'
  end
  return state
end

-- Numbers grow over all breakers of the shard. The key of one that is closed may have been evicted
-- or deleted, and replicas that know its last number must not take the next state for an older one.
local function next_number()
  local top = redis.call('HINCRBY', shard, 'top', 1)
  local least = math.max(number, seen_number) + 1
  if top >= least then return top end
  redis.call('HSET', shard, 'top', text(least))
  return least
end
-- This number is known to a replica. If a full server refuses to note it, it refuses a new state
-- as well.
local function note_number(known)
  if known > tonumber(redis.call('HGET', shard, 'top') or '0') then
    redis.pcall('HSET', shard, 'top', text(known))
  end
end

-- A vote and a lease hold until when they last, and how long in all. A lease also holds the number
-- of the last result under it that was counted.
local function span(span_lasts, counted, span_till)
  local value = text(span_till or now + span_lasts) .. ' ' .. text(span_lasts)
  if counted and counted > 0 then value = value .. ' ' .. text(counted) end
  return value
end
local function parse_span(value)
  local span_till, span_lasts, counted = string.match(value or '', '^(%d+) (%d+) ?(%d*)$')
  return tonumber(span_till or '0'), tonumber(span_lasts or '0'), tonumber(counted or '0') or 0
end

-- The fields with this prefix whose time has not come, and those whose time has. What is counted
-- are tokens: the votes of one replica's breakers (`v:{replica}:{breaker}`) are one.
local function running(prefix)
  local fields, tokens, count, first, lapsed = {}, {}, 0, nil, {}
  for field, value in pairs(hash) do
    if string.sub(field, 1, 2) == prefix then
      local till_then = parse_span(value)
      if till_then > now then
        fields[field] = till_then
        local first_token = string.sub(field, 3, 18)
        if not tokens[first_token] then count = count + 1 end
        tokens[first_token] = true
        if not first or till_then < first then first = till_then end
      else
        lapsed[#lapsed + 1] = field
      end
    end
  end
  return fields, count, first, lapsed
end
local function remove(fields, but)
  for _, field in ipairs(fields) do
    if field ~= but then redis.call('HDEL', key, field) end
  end
end

-- The clock has gone back: nothing lasts for longer than it was meant to.
for field, value in pairs(hash) do
  local prefix = string.sub(field, 1, 2)
  if prefix == 'v:' or prefix == 'l:' then
    local span_till, span_lasts, counted = parse_span(value)
    if span_till - now > span_lasts then
      hash[field] = span(span_lasts, counted)
      redis.call('HSET', key, field, hash[field])
    end
  end
end
if till ~= 0 and lasts ~= '' and till - now > tonumber(lasts) then
  till = now + tonumber(lasts)
  redis.call('HSET', key, 'u', text(till))
  keep()
end

-- A `join` is fenced: it does no harm if it is late.
if command ~= 'join' and deadline ~= 0 and now > deadline then return answer('late') end

if command == 'join' then
  local a_number, a_token, a_state = tonumber(ARGV[6]), ARGV[7], ARGV[8]
  local a_lasts, a_opens = ARGV[9], ARGV[10]
  local highest = math.max(a_number, number)
  if highest > 0 then note_number(highest) end
  if compare(a_number, a_token, number, token) > 0 then
    if ARGV[11] == '1' then note_by_hand(a_token) end
    store(a_number, a_token, a_state, a_lasts, a_opens, ARGV[12])
  elseif number > 0 then
    keep()
  end
  return answer('done')
end

if command == 'set' then
  local a_token, a_state, a_lasts, a_opens = ARGV[6], ARGV[7], ARGV[8], ARGV[9]
  if token ~= a_token and not is_by_hand(a_token) then
    note_by_hand(a_token)
    store(next_number(), a_token, a_state, a_lasts, a_opens, ARGV[10])
  end
  return answer('done')
end

local order = compare(number, token, seen_number, seen_token)
if order > 0 then return answer('stale') end

if command == 'vote' then
  local voter, a_token, open_for, a_opens = ARGV[6], ARGV[7], ARGV[8], ARGV[9]
  local quorum = tonumber(ARGV[10])
  local current = state_now()
  local is_votable = current == 'closed' or current == 'half_open'
  local is_withdrawal = tonumber(open_for) == 0
  if quorum > 1 or is_withdrawal then
    if order < 0 then return answer('behind') end
    if not is_votable then return answer('done') end
    local vote = 'v:' .. voter
    if is_withdrawal then
      -- A vote that is taken back opens nothing, whatever other replicas' quorums are.
      redis.call('HDEL', key, vote)
      local _, _, _, lapsed = running('v:')
      remove(lapsed)
      return answer('counted')
    end
    hash[vote] = span(tonumber(open_for))
    redis.call('HSET', key, vote, hash[vote])
    local _, votes, _, lapsed = running('v:')
    remove(lapsed)
    if votes < quorum then
      local ms = math.floor((now + tonumber(open_for)) / 1000) + KEPT_MS
      redis.call('PEXPIREAT', key, text(ms))
      return answer('counted')
    end
  elseif order == 0 and not is_votable then
    return answer('done')
  end
  store(next_number(), a_token, 'open', open_for, a_opens)
  return answer('done')
end

if order < 0 then return answer('behind') end

if command == 'lease' then
  local lease, lasts, max = ARGV[6], tonumber(ARGV[7]), tonumber(ARGV[8])
  local current = state_now()
  if current == 'open' and till ~= 0 then return answer('denied', till) end
  if current ~= 'half_open' then return answer('denied', now + lasts) end
  local leases, count, first, lapsed = running('l:')
  local is_renewal = leases['l:' .. lease] ~= nil
  local denials = tonumber(hash.w or '0')
  if not is_renewal and count >= max then
    remove(lapsed)
    -- It does not matter if a full server refuses this.
    if denials < WANTED then redis.pcall('HINCRBY', key, 'w', '1') end
    return answer('denied', first or now)
  end
  local _, _, counted = parse_span(hash['l:' .. lease])
  redis.call('HSET', key, 'l:' .. lease, span(lasts, counted))
  remove(lapsed, 'l:' .. lease)
  local is_wanted = is_renewal and denials >= WANTED
  if denials > 0 and (is_wanted or not is_renewal) then redis.call('HDEL', key, 'w') end
  return answer('granted', is_wanted and 1 or 0)
end

if command == 'release' then
  redis.call('HDEL', key, 'l:' .. ARGV[6])
  return answer('done')
end

if command == 'limit' then
  local left = tonumber(ARGV[6])
  if till - now > left + SLACK then
    till = now + left
    redis.call('HSET', key, 'u', text(till))
    keep()
    publish()
  end
  return answer('done')
end

if command == 'recovered' then
  if state_now() ~= 'half_open' then return answer('void') end
  store(next_number(), ARGV[6], 'closed', '', '0')
  return answer('done')
end

if command == 'result' then
  local a_token, lease, verdict = ARGV[6], ARGV[7], ARGV[8]
  local needed, rate = tonumber(ARGV[9]), ARGV[10]
  local open_for, a_opens, serial = ARGV[11], ARGV[12], tonumber(ARGV[13])
  local lease_till, lease_lasts, counted = parse_span(hash['l:' .. lease])
  if lease_till <= now or state_now() ~= 'half_open' then return answer('void') end
  -- It is sent again, because its answer was lost.
  if serial <= counted then return answer('counted') end
  local good, bad = tonumber(hash.g or '0'), tonumber(hash.b or '0')
  if verdict == 'good' then good = good + 1 else bad = bad + 1 end
  local opens_again = nil
  if verdict == 'timed_out' then
    opens_again = true
  elseif rate == '' then
    if verdict == 'bad' then opens_again = true
    elseif good >= needed then opens_again = false end
  elseif good + bad >= needed then
    opens_again = bad * 1000000 >= (good + bad) * tonumber(rate)
  end
  if opens_again == nil then
    local value = span(lease_lasts, serial, lease_till)
    redis.call('HSET', key, 'g', text(good), 'b', text(bad), 'l:' .. lease, value)
    return answer('counted')
  end
  if opens_again then
    store(next_number(), a_token, 'open', open_for, a_opens)
  else
    store(next_number(), a_token, 'closed', '', '0')
  end
  return answer('done')
end

return redis.error_reply('unknown command of a fleet')
