//! The scripts that keep the journal in Redis: one that numbers, keeps and publishes, one that reads where the journal is.
//!
//! `KEYS[1]` is a hash with the epoch, the last number and the replication id of the server that they are from. `KEYS[2]` is a sorted
//! set: the last number of each audience, and the epoch, by which a set that Redis evicted is recognised. Both scripts begin a new
//! epoch if either key is gone, or if the server is not the one that wrote them: it was restarted, or took over with a copy that may
//! be older. The messages of an audience are a stream whose name has the epoch in it, so what is left of another epoch is never read.

use std::sync::LazyLock;

use super::super::scripts::Script;

/// Reads the state into `epoch`, `number`, `forgotten` and `now`. `ARGV[1]`: the next epoch's name. Returns an error of Redis, if there is one.
macro_rules! state {
    () => {
        "local info = redis.pcall('INFO', 'replication')
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
"
    };
}

/// Numbers, keeps and publishes messages.
///
/// `ARGV`: the next epoch's name, the most audiences, the prefix of channels, and for each message its channel without the prefix, its
/// [`Retention`](fanfare_core::history::Retention) in events and milliseconds, and itself: a JSON object. `KEYS[3]` begins the names of streams.
///
/// Returns what keeping the first message failed with or nothing, and for each message its number of receivers. A message that cannot
/// be kept is published without a place. What others put in the place of a stream is removed. No error leaves the script once a message is published.
pub(super) static KEEP: LazyLock<Script> = LazyLock::new(|| {
    Script::new(concat!(
        state!(),
        "local result, before = {''}, number
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
    payload = string.sub(payload, 1, -2) .. ',\"kept\":\"' .. place .. '\"}'
  elseif result[1] == '' then
    result[1] = err
  end
  local heard = redis.pcall('PUBLISH', ARGV[3] .. member, payload)
  result[#result + 1] = failed(heard) or heard
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
"
    ))
});

/// Returns the epoch, the last number, the number up to which audiences may be forgotten, the time in milliseconds, and the last
/// numbers of the audiences that are asked for, in order.
///
/// `ARGV`: the next epoch's name, a number, and the audiences. If the number is not empty, all audiences with a higher one follow: each
/// with its number, the highest number first.
pub(super) static TOPS: LazyLock<Script> = LazyLock::new(|| {
    Script::new(concat!(
        state!(),
        "local result = {epoch, string.format('%.0f', number), forgotten, now}
for at = 3, #ARGV do
  result[#result + 1] = redis.call('ZSCORE', KEYS[2], ARGV[at]) or '0'
end
if ARGV[2] ~= '' then
  result[#result + 1] = redis.call('ZREVRANGEBYSCORE', KEYS[2], '(+inf', '(' .. ARGV[2], 'WITHSCORES')
end
return result
"
    ))
});
