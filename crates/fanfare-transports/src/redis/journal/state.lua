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
