//! The scripts that maintain the journal and the recorder's lease in Redis.
//!
//! `KEYS[1]` is a hash with the epoch, the last number and the replication id of the server that wrote them. `KEYS[2]` is a sorted set: the
//! last number of each audience, and the epoch, which shows whether Redis evicted the set. The scripts begin a new epoch if either key is
//! gone, or if another server wrote them: the server was restarted, or took over with a copy that may be older. The messages of an audience
//! are a stream whose name contains the epoch, so streams of other epochs are never read.

use std::sync::LazyLock;

use super::super::scripts::Script;

/// Numbers, keeps and publishes messages.
///
/// `ARGV`: the next epoch's name, the most audiences, the prefix of channels. For each message: its channel without the prefix, its
/// [`Retention`](fanfare_core::history::Retention) in events and milliseconds, and the message, a JSON object. `KEYS[3]` begins the names of
/// streams.
///
/// Returns the first error of keeping a message or nothing, and for each message the number of its receivers and its position. A message
/// that cannot be kept is published without a position. A key of another type in place of a stream is deleted. Once a message is published,
/// the script returns no error.
pub(super) static KEEP: LazyLock<Script> =
    LazyLock::new(|| Script::new(concat!(include_str!("state.lua"), include_str!("keep.lua"))));

/// Returns the epoch, the last number, the number up to which audiences may be forgotten, the time in milliseconds, the number of
/// audiences, the floor, and the last numbers of the given audiences, in order.
///
/// `ARGV`: the next epoch's name, a number or nothing, and the audiences. With a number, all audiences with a higher last number follow: each
/// with its number, the highest number first.
pub(super) static TOPS: LazyLock<Script> =
    LazyLock::new(|| Script::new(concat!(include_str!("state.lua"), include_str!("tops.lua"))));

/// Counts up the tick, and renews or acquires the recorder's lease in the hash `KEYS[4]`.
///
/// `ARGV`: the next epoch's name, the candidate or nothing, the settled tick, the flags (`again`, `leave`, `lost`), the channel of the nodes,
/// the text before and after the tick in the message on that channel, the ticks of a lease, and the milliseconds of a tick.
///
/// Returns the role (`holder`, `standby`, `needed` or `none`), the tick, the term, the first tick that the term records, the settled tick,
/// and 1 if anything was ever recorded or lost. The last value is also in `KEYS[1]`, since Redis may evict the lease and keep the journal.
pub(super) static TICK: LazyLock<Script> =
    LazyLock::new(|| Script::new(concat!(include_str!("state.lua"), include_str!("tick.lua"))));

/// As [`KEEP`], for the recorder. Further arguments: the term, the tick after which the messages arrived, and the number of ticks within
/// which they may be recorded. Returns `{'over'}` if the term is over, and `{'late'}` if the tick is too old: then the floor is raised.
pub(super) static RECORD: LazyLock<Script> = LazyLock::new(|| {
    Script::new(concat!(
        include_str!("term.lua"),
        include_str!("state.lua"),
        include_str!("late.lua"),
        include_str!("keep.lua")
    ))
});
