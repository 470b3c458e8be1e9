local within, tick, term = table.remove(ARGV), table.remove(ARGV), table.remove(ARGV)
local lease = redis.pcall('HMGET', KEYS[4], 'tick', 'term')
if lease.err or lease[2] ~= term then return {'over'} end
local is_late = lease[1] - tick > tonumber(within)
if not is_late then redis.pcall('HSET', KEYS[4], 'used', 1) end
