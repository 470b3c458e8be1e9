local fields = {'tick', 'at', 'holder', 'lasts', 'term', 'settled', 'standby', 'standby_lasts', 'since', 'used'}
local values = redis.pcall('HMGET', KEYS[4], unpack(fields))
if values.err then
  redis.pcall('DEL', KEYS[4])
  values = {}
end
local lease = {}
for at, name in ipairs(fields) do lease[name] = values[at] or '0' end
-- It stands in the journal's state, too: Redis may evict the lease alone.
local was_used = redis.call('HGET', KEYS[1], 'used')
if was_used then lease.used = '1' end
for _, name in ipairs({'tick', 'at', 'lasts', 'term', 'settled', 'standby_lasts', 'since'}) do lease[name] = tonumber(lease[name]) or 0 end
local function wishes(wish) return string.find(ARGV[4], wish, 1, true) end
local me, role, from, is_due = ARGV[2], 'none', 0, false
local is_lost, length = wishes('lost'), tonumber(ARGV[8])
local function is_held() return lease.holder ~= '0' and lease.lasts >= lease.tick end
local function has_standby() return lease.standby ~= '0' and lease.standby_lasts >= lease.tick end
-- What a term has not recorded when it ends, it never records.
local function release()
  if lease.holder ~= '0' then lease.holder, lease.term = '0', lease.term + 1 end
end
if wishes('leave') then
  if lease.holder == me then release() end
  if lease.standby == me then lease.standby = '0' end
elseif me ~= '' and lease.holder == me then
  role, lease.lasts, lease.settled = 'holder', lease.tick + length, math.max(lease.settled, tonumber(ARGV[3]))
  if wishes('again') then lease.term, is_due = lease.term + 1, true end
elseif me ~= '' and not is_held() and (lease.standby == me or not has_standby()) then
  -- A standby has received all that its predecessor had not settled. Nobody else knows what was published before.
  if lease.standby ~= me or lease.settled < lease.since then
    from = lease.tick + 1
    lease.settled = from
    is_lost = is_lost or lease.used == '1'
  end
  if lease.standby == me then lease.standby = '0' end
  role, is_due = 'holder', true
  lease.holder, lease.lasts, lease.term = me, lease.tick + 1 + length, lease.term + 1
elseif me ~= '' and (lease.standby == me or not has_standby()) then
  if lease.standby ~= me then lease.standby, lease.since = me, lease.tick + 1 end
  role, lease.standby_lasts = 'standby', lease.tick + length
end
if is_lost then
  lease.used, number = '1', number + 1
  local floor = string.format('%.0f', number)
  redis.call('HSET', KEYS[1], 'number', floor, 'floor', floor)
end
local ms, tick = tonumber(now), nil
if is_due or ms < lease.at or ms - lease.at >= tonumber(ARGV[9]) then
  lease.tick, lease.at = lease.tick + 1, ms
  local is_vacant = not is_held() and not has_standby()
  if is_vacant then
    release()
    lease.standby = '0'
  end
  local state = is_vacant and 0 or from ~= 0 and 2 or 1
  tick = string.format('%s%.0f,%d%s', ARGV[6], lease.tick, state, ARGV[7])
end
local set = {}
for _, name in ipairs(fields) do
  local value = lease[name]
  set[#set + 1] = name
  set[#set + 1] = type(value) == 'number' and string.format('%.0f', value) or value
end
redis.call('HSET', KEYS[4], unpack(set))
if lease.used == '1' and not was_used then redis.call('HSET', KEYS[1], 'used', '1') end
-- Only what is stored counts: without memory for it, the same tick would be published again and again.
if tick then redis.call('PUBLISH', ARGV[5], tick) end
if role == 'none' and not (is_held() and has_standby()) then role = 'needed' end
local function text(value) return string.format('%.0f', value) end
return {role, text(lease.tick), text(lease.term), text(from), text(lease.settled), lease.used}
