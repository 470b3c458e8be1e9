if is_late then
  redis.call('HSET', KEYS[1], 'number', string.format('%.0f', number + 1), 'floor', string.format('%.0f', number + 1))
  return {'late'}
end
