//! The scripts that maintain presence in Redis. Each script uses only its one key, so that it also runs in a Cluster.
//!
//! Values that no node wrote are ignored. A key of another type is an error of Redis, which affects only that key.

use std::{collections::HashSet, sync::LazyLock};

use aws_lc_rs::digest::{SHA1_FOR_LEGACY_USE_ONLY, digest};
use redis::Cmd;

/// A script and its digest, which identifies it to Redis after its first run.
pub(super) struct Script {
    text: String,
    digest: String,
}

impl Script {
    pub(super) fn new(text: &str) -> Self {
        let digest = digest(&SHA1_FOR_LEGACY_USE_ONLY, text.as_bytes());
        let digits: Vec<_> = digest.as_ref().iter().map(|byte| format!("{byte:02x}")).collect();
        Self {
            digest: digits.concat(),
            text: text.to_owned(),
        }
    }

    /// Returns a call with the script's text and `key`. The caller adds arguments.
    pub(super) fn call_for(&self, key: &str) -> Cmd {
        self.call(true).arg(1).arg(key).to_owned()
    }

    /// Returns a call with the script's text or digest. The caller adds keys and arguments.
    pub(super) fn call(&self, with_text: bool) -> Cmd {
        if with_text {
            redis::cmd("EVAL").arg(&self.text).to_owned()
        } else {
            redis::cmd("EVALSHA").arg(&self.digest).to_owned()
        }
    }
}

/// A batch of commands that run scripts. The first call of each script has its text, which Redis caches; the others have its digest.
#[derive(Default)]
pub(super) struct ScriptCalls {
    pub(super) commands: Vec<Cmd>,
    /// The digests of the scripts that are called.
    called: HashSet<&'static str>,
}

impl ScriptCalls {
    /// Adds a call of `script` with `key`. Returns the command; the caller adds arguments.
    pub(super) fn add(&mut self, script: &'static Script, key: &str) -> &mut Cmd {
        let mut command = script.call(self.called.insert(&script.digest));
        command.arg(1).arg(key);
        self.commands.push(command);
        let last = self.commands.len() - 1;
        &mut self.commands[last]
    }
}

/// Declares a script.
macro_rules! script {
    ($(#[$doc:meta])* $name:ident = $text:expr) => {
        $(#[$doc])*
        pub(super) static $name: LazyLock<Script> = LazyLock::new(|| Script::new($text));
    };
}

/// Reads the time in milliseconds, and refuses a change after the end of its lease's term.
macro_rules! fenced {
    () => {
        "local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
if ARGV[1] ~= '' and now > tonumber(ARGV[1]) then return -1 end
"
    };
}

/// Returns the list of a room. A transition that is not in the list has a greater version. `version` is the last transition's, or 0. `most`
/// limits the list, because Redis does nothing else while it reads the list.
macro_rules! listed {
    () => {
        "if version == 0 then version = time[1] * 1000000 + time[2] - 1 end
local list = 0
if redis.call('HLEN', KEYS[1]) - redis.call('HEXISTS', KEYS[1], '') <= most then list = redis.call('HGETALL', KEYS[1]) end
return {changed, string.format('%.0f', version), list}
"
    };
}

script!(
    /// Changes the holders of a user in the room `KEYS[1]`.
    ///
    /// `ARGV`: the end of the lease's term or nothing, the lease, the user, `enter`, `leave` or `lost` (leaves, even if the record is
    /// missing), the time of entry and the description of the user, the most members to list or nothing for no list, the channel of the
    /// announcement or nothing, the announcement's text before its version and after it.
    ///
    /// Returns -1 if the term is over, else 1 for a transition and 0 for none. With a list: that number, the version, and the room's hash, or
    /// 0 if the room has more members.
    ROOM = concat!(
        fenced!(),
        "local held, holders, others = false, {}, 0
for holder in string.gmatch(redis.call('HGET', KEYS[1], ARGV[3]) or '', '[^\\n]+') do
  local lease = string.match(holder, '^(%x+) %d+ {.*}$')
  if lease == ARGV[2] then
    held = true
    if ARGV[4] == 'enter' then holders[#holders + 1] = holder end
  elseif lease then
    others = others + 1
    holders[#holders + 1] = holder
  end
end
local changed = 0
if ARGV[4] == 'enter' then
  if not held then
    if others == 0 then changed = 1 end
    holders[#holders + 1] = ARGV[2] .. ' ' .. ARGV[5]
  end
elseif others == 0 and (held or ARGV[4] == 'lost') then
  changed = 1
end
if #holders > 0 then
  redis.call('HSET', KEYS[1], ARGV[3], table.concat(holders, '\\n'))
else
  redis.call('HDEL', KEYS[1], ARGV[3])
end
local version = tonumber(redis.call('HGET', KEYS[1], '') or 0) or 0
if changed == 1 then
  version = math.max(version + 1, time[1] * 1000000 + time[2])
  local text = string.format('%.0f', version)
  redis.call('HSET', KEYS[1], '', text)
  if ARGV[7] ~= '' then redis.call('PUBLISH', ARGV[7], ARGV[8] .. text .. ARGV[9]) end
end
if #holders == 0 and redis.call('HLEN', KEYS[1]) == redis.call('HEXISTS', KEYS[1], '') then redis.call('DEL', KEYS[1]) end
local most = tonumber(ARGV[6])
if not most then return changed end
",
        listed!()
    )
);

script!(
    /// Returns the list of the room `KEYS[1]`, as [`ROOM`] does. `ARGV`: the most members to list.
    LIST = concat!(
        "local time = redis.call('TIME')
local changed, most = 0, tonumber(ARGV[1])
local version = tonumber(redis.call('HGET', KEYS[1], '') or 0) or 0
",
        listed!()
    )
);

script!(
    /// Sets the number of places that a lease holds of the slot `KEYS[1]`.
    ///
    /// `ARGV`: the end of the lease's term or nothing, the lease, the number of places, the limit for all leases or nothing.
    ///
    /// Returns -1 if the term is over, 1 if the lease holds the places, 0 if too few are free.
    SLOT = concat!(
        fenced!(),
        "local own, others = 0, 0
local leases = redis.call('HGETALL', KEYS[1])
for at = 1, #leases, 2 do
  if string.match(leases[at], '^%x+$') and string.match(leases[at + 1], '^%d+$') then
    if leases[at] == ARGV[2] then own = tonumber(leases[at + 1]) else others = others + tonumber(leases[at + 1]) end
  end
end
local count = tonumber(ARGV[3])
if ARGV[4] ~= '' and count > own and others + count > tonumber(ARGV[4]) then return 0 end
if count > 0 then redis.call('HSET', KEYS[1], ARGV[2], count) else redis.call('HDEL', KEYS[1], ARGV[2]) end
return 1
"
    )
);

script!(
    /// Adds entries to the index `KEYS[1]` of a lease. `ARGV`: the end of the lease's term or nothing, then the entries.
    ///
    /// Returns -1 if the term is over.
    INDEX = concat!(
        fenced!(),
        "return redis.call('SADD', KEYS[1], unpack(ARGV, 2))
"
    )
);

/// Reads the time, and the state of the lease `ARGV[1]` in the table `KEYS[1]`: `until`, `cleaning until cleaner`, or
/// `cleaned since`.
macro_rules! lease {
    () => {
        "local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local function text(number) return string.format('%.0f', number) end
local state = redis.call('HGET', KEYS[1], ARGV[1]) or ''
local live = tonumber(string.match(state, '^%d+$'))
local claimed, cleaner = string.match(state, '^cleaning (%d+) (%x+)$')
"
    };
}

script!(
    /// Acquires or renews a lease, and removes leases that were cleaned long ago.
    ///
    /// `ARGV`: the lease, the end of its term or 0, the duration of a term, the time for which cleaned leases are remembered.
    ///
    /// Returns 0 if the lease was lost, -1 if it was cleaned, else the end of the term and the leases that have expired.
    RENEW = concat!(
        lease!(),
        "if claimed or string.match(state, '^cleaned %d+$') then return -1 end
if tonumber(ARGV[2]) > 0 and (not live or live < tonumber(ARGV[2])) then return 0 end
local over = {text(now + ARGV[3])}
redis.call('HSET', KEYS[1], ARGV[1], over[1])
local leases = redis.call('HGETALL', KEYS[1])
for at = 1, #leases, 2 do
  local ends = tonumber(string.match(leases[at + 1], '^%d+$') or string.match(leases[at + 1], '^cleaning (%d+) %x+$'))
  local cleaned = tonumber(string.match(leases[at + 1], '^cleaned (%d+)$'))
  if cleaned and cleaned + ARGV[4] < now then redis.call('HDEL', KEYS[1], leases[at]) end
  if ends and ends < now and string.match(leases[at], '^%x+$') then over[#over + 1] = leases[at] end
end
return over
"
    )
);

script!(
    /// Claims the cleaning of a lease. `ARGV`: the lease, the cleaner, the duration of the claim. Returns 1 or 0.
    CLAIM_CLEANING = concat!(
        lease!(),
        "if not (live and live < now) and not (claimed and (cleaner == ARGV[2] or tonumber(claimed) < now)) then return 0 end
redis.call('HSET', KEYS[1], ARGV[1], 'cleaning ' .. text(now + ARGV[3]) .. ' ' .. ARGV[2])
return 1
"
    )
);

script!(
    /// Marks a lease as cleaned. `ARGV`: the lease.
    CLEANED = concat!(
        lease!(),
        "return redis.call('HSET', KEYS[1], ARGV[1], 'cleaned ' .. text(now))
"
    )
);

script!(
    /// Makes a lease expire, unless a cleaner has claimed it. `ARGV`: the lease.
    EXPIRE = concat!(
        lease!(),
        "if claimed then return 0 end
return redis.call('HSET', KEYS[1], ARGV[1], 0)
"
    )
);
