#!lua name=fanfare

-- Publishes an event from a backend and keeps it in the history of its channel. Load it once, and again after each upgrade of Fanfare:
--
--     redis-cli -x FUNCTION LOAD REPLACE < fanfare.lua

-- As Fanfare's nodes do it.
local function keep_and_publish(KEYS, ARGV)
local info = redis.pcall('INFO', 'replication')
if info.err then return info end
local source = string.match(info, 'master_replid:(%x+)') or ''
local time = redis.call('TIME')
local now = string.format('%.0f', time[1] * 1000 + math.floor(time[2] / 1000))
local state = redis.pcall('HMGET', KEYS[1], 'epoch', 'source', 'number', 'forgotten')
local mark = not state.err and state[1] and redis.pcall('ZSCORE', KEYS[2], state[1])
local epoch, number, forgotten = state[1], tonumber(state[3] or nil), state[4]
if not (mark and not mark.err and state[2] == source and number and forgotten) then
  epoch, number, forgotten = ARGV[1], 0, '0'
  redis.pcall('DEL', KEYS[1], KEYS[2])
  local set = redis.pcall('HSET', KEYS[1], 'epoch', epoch, 'source', source, 'number', 0, 'forgotten', 0)
  if type(set) == 'table' and set.err then return set end
  set = redis.pcall('ZADD', KEYS[2], '+inf', epoch)
  if type(set) == 'table' and set.err then return set end
end
local result, before = {''}, number
local function failed(answer) return type(answer) == 'table' and answer.err end
local function keep(member, size, ttl, payload)
  local prev = redis.pcall('ZSCORE', KEYS[2], member)
  if failed(prev) then return nil, prev.err end
  prev = prev or forgotten
  local stream = KEYS[3] .. epoch .. ':' .. member
  local id = string.format('%.0f-%s', number + 1, now)
  local function add() return redis.pcall('XADD', stream, 'MAXLEN', '=', size, id, 'p', prev, 't', ttl, 'm', payload) end
  local added = add()
  local err = failed(added) or ''
  if string.find(err, 'WRONGTYPE') or string.find(err, 'equal or smaller') then
    redis.pcall('DEL', stream)
    added = add()
  end
  if failed(added) then return nil, added.err end
  number = number + 1
  redis.pcall('PEXPIRE', stream, ttl)
  redis.pcall('ZADD', KEYS[2], number, member)
  return string.format('%s %.0f %s', epoch, number, prev)
end
for at = 4, #ARGV, 4 do
  local member, payload = ARGV[at], ARGV[at + 3]
  local place, err = keep(member, ARGV[at + 1], ARGV[at + 2], payload)
  if place then
    payload = string.sub(payload, 1, -2) .. ',"kept":"' .. place .. '"}'
  elseif result[1] == '' then
    result[1] = err
  end
  local heard = redis.pcall('PUBLISH', ARGV[3] .. member, payload)
  result[#result + 1] = failed(heard) or heard
  result[#result + 1] = place or ''
end
local many = redis.pcall('ZCARD', KEYS[2])
if not failed(many) and many - 1 > tonumber(ARGV[2]) then
  local oldest = redis.pcall('ZPOPMIN', KEYS[2], many - 1 - ARGV[2])
  for at = 1, #oldest, 2 do
    redis.pcall('DEL', KEYS[3] .. epoch .. ':' .. oldest[at])
    forgotten = oldest[at + 1]
  end
end
if number > before then
  redis.pcall('HSET', KEYS[1], 'number', string.format('%.0f', number), 'forgotten', forgotten)
end
return result
end
-- A date of the Gregorian calendar, from the days since 1970.
local function date(days)
  local z = days + 719468
  local era = math.floor(z / 146097)
  local doe = z - era * 146097
  local yoe = math.floor((doe - math.floor(doe / 1460) + math.floor(doe / 36524) - math.floor(doe / 146096)) / 365)
  local doy = doe - (365 * yoe + math.floor(yoe / 4) - math.floor(yoe / 100))
  local mp = math.floor((5 * doy + 2) / 153)
  local month = mp < 10 and mp + 3 or mp - 9
  return string.format('%04d-%02d-%02d', yoe + era * 400 + (month <= 2 and 1 or 0), month, doy - math.floor((153 * mp + 2) / 5) + 1)
end

-- FCALL fanfare_publish 1 fanfare:journal: CHANNEL SIZE SECONDS MESSAGE
--
-- The key begins the names of the journal's keys: `PREFIXfanfare:journal:`, and in a Cluster `PREFIXfanfare:journal:{fanfare}`. The channel has no
-- prefix. The message is a JSON object as for PUBLISH, without the field `fanfare`. Returns how many nodes received it.
local function fanfare_publish(keys, args)
  local base, channel, size, seconds, message = keys[1], args[1], tonumber(args[2]), tonumber(args[3]), args[4]
  local prefix = base and string.match(base, '^(.*)fanfare:journal:[^:]*$')
  local is_channel = channel and (string.match(channel, '^fanfare:channel:.') or string.match(channel, '^user_noti:.') or channel == 'fanfare:everyone')
  if not (prefix and is_channel and message and #args == 4) then
    return redis.error_reply('ERR expected FCALL fanfare_publish 1 fanfare:journal: CHANNEL SIZE SECONDS MESSAGE')
  end
  if not (size and size >= 1 and size <= 100000 and seconds and seconds > 0 and seconds <= 2592000) then
    return redis.error_reply('ERR expected 1 to 100000 events and up to 2592000 seconds')
  end
  local is_json, fields = pcall(cjson.decode, message)
  if not is_json or type(fields) ~= 'table' or not string.match(message, '^%s*{.*}%s*$') or fields.fanfare then
    return redis.error_reply('ERR expected a JSON object without the field fanfare')
  end
  -- Nodes refuse these, and a message that they cannot read is a gap in the history.
  local is_untyped = type(fields.type) ~= 'string' or fields.payload == nil
  if fields.type == 'resume' or fields.type == 'stream.end' or is_untyped and not string.match(channel, '^fanfare:channel:') then
    return redis.error_reply('ERR expected a type that is not reserved for the server, and a payload')
  end
  local time = redis.call('TIME')
  local hash = redis.sha1hex(time[1] .. ' ' .. time[2] .. ' ' .. channel .. ' ' .. message)
  local id = string.format('%s-%s-8%s-8%s-%s', string.sub(hash, 1, 8), string.sub(hash, 9, 12), string.sub(hash, 13, 15),
    string.sub(hash, 16, 18), string.sub(hash, 19, 30))
  local second = time[1] % 86400
  local at = string.format('%sT%02d:%02d:%02d.%03dZ', date(math.floor(time[1] / 86400)), math.floor(second / 3600),
    math.floor(second / 60) % 60, second % 60, math.floor(time[2] / 1000))
  local text = string.match(message, '^(.*)}%s*$')
  local comma = next(fields) == nil and '' or ','
  message = string.format('%s%s"fanfare":{"id":"%s","node":"redis","timestamp":"%s"}}', text, comma, id, at)
  local ttl = string.format('%.0f', math.max(1, seconds * 1000))
  local answer = keep_and_publish({base .. 'state', base .. 'tops', base},
    {string.sub(hash, 1, 16), '100000', prefix, channel, string.format('%.0f', size), ttl, message})
  if answer.err then return answer end
  if answer[1] ~= '' then return redis.error_reply(answer[1]) end
  return answer[2]
end

redis.register_function('fanfare_publish', fanfare_publish)
