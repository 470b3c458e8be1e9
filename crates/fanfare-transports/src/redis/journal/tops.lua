local journals = redis.call('ZCARD', KEYS[2]) - 1
local result = {epoch, string.format('%.0f', number), forgotten, now, string.format('%.0f', journals), redis.call('HGET', KEYS[1], 'floor') or '0'}
for at = 3, #ARGV do
  result[#result + 1] = redis.call('ZSCORE', KEYS[2], ARGV[at]) or '0'
end
if ARGV[2] ~= '' then
  result[#result + 1] = redis.call('ZREVRANGEBYSCORE', KEYS[2], '(+inf', '(' .. ARGV[2], 'WITHSCORES')
end
return result
