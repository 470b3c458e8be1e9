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
