//! The scripts that keep the journal in Redis: one that numbers, keeps and publishes, one that reads where the journal is.
//!
//! `KEYS[1]` is a hash with the epoch, the last number and the replication id of the server that they are from. `KEYS[2]` is a sorted
//! set: the last number of each audience, and the epoch, by which a set that Redis evicted is recognised. Both scripts begin a new
//! epoch if either key is gone, or if the server is not the one that wrote them: it was restarted, or took over with a copy that may
//! be older. The messages of an audience are a stream whose name has the epoch in it, so what is left of another epoch is never read.

use std::sync::LazyLock;

use super::super::scripts::Script;

/// Numbers, keeps and publishes messages.
///
/// `ARGV`: the next epoch's name, the most audiences, the prefix of channels, and for each message its channel without the prefix, its
/// [`Retention`](fanfare_core::history::Retention) in events and milliseconds, and itself: a JSON object. `KEYS[3]` begins the names of streams.
///
/// Returns what keeping the first message failed with or nothing, and for each message its number of receivers and its place. A message
/// that cannot be kept is published without a place. What others put in the place of a stream is removed. No error leaves the script
/// once a message is published.
pub(super) static KEEP: LazyLock<Script> =
    LazyLock::new(|| Script::new(concat!(include_str!("state.lua"), include_str!("keep.lua"))));

/// Returns the epoch, the last number, the number up to which audiences may be forgotten, the time in milliseconds, the number of
/// audiences, and the last numbers of the audiences that are asked for, in order.
///
/// `ARGV`: the next epoch's name, a number, and the audiences. If the number is not empty, all audiences with a higher one follow: each
/// with its number, the highest number first.
pub(super) static TOPS: LazyLock<Script> =
    LazyLock::new(|| Script::new(concat!(include_str!("state.lua"), include_str!("tops.lua"))));

/// Counts up the tick, and renews or acquires the recorder's lease in the hash `KEYS[4]`.
///
/// `ARGV`: the next epoch's name, the candidate or nothing, what is settled, the wishes (`again`, `leave`, `lost`), the channel of the nodes,
/// what stands before and after the tick in what is published there, the ticks that a lease lasts, and the milliseconds of a tick.
///
/// Returns the role (`holder`, `standby`, `needed` or `none`), the tick, the term, the tick from which on the term records, what is
/// settled, and 1 if anything was ever recorded or lost. That is also in `KEYS[1]`, since Redis may evict the lease alone.
pub(super) static TICK: LazyLock<Script> =
    LazyLock::new(|| Script::new(concat!(include_str!("state.lua"), include_str!("tick.lua"))));

/// As [`KEEP`], for what the recorder publishes: behind the arguments stand the term, the tick behind which it arrived, and for how many ticks
/// it may be recorded. Returns `{'over'}` if the term is over, and `{'late'}` if the tick is too old: then the floor is raised.
pub(super) static RECORD: LazyLock<Script> = LazyLock::new(|| {
    Script::new(concat!(
        include_str!("term.lua"),
        include_str!("state.lua"),
        include_str!("late.lua"),
        include_str!("keep.lua")
    ))
});
