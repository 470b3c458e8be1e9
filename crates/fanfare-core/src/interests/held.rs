//! The connections of a node that need one user or channel: how many, and on which shards.

use super::ShardSet;
use crate::mostly_one::MostlyOne;

/// A shard and a dialect, by their numbers.
pub(super) type ShardAndDialect = (usize, usize);

/// The dialect of operators' watchers, which are no connections and never counted as such.
const WATCHERS: u8 = u8::MAX;
/// The place of watchers: the first shard, which every node has.
pub(super) const WATCHED: ShardAndDialect = (0, WATCHERS as usize);

/// A user or channel that connections of this node need, and the broker's answer to the first of them.
#[derive(Debug)]
pub(super) struct Held<T> {
    placed: T,
    holders: MostlyOne<Holder>,
}

/// The number of connections of one shard and dialect; never zero.
#[derive(Debug, Clone, Copy)]
struct Holder {
    shard: u8,
    dialect: u8,
    connections: u32,
}

impl<T: Clone> Held<T> {
    /// Returns an entry without any connection.
    pub(super) fn new(placed: T) -> Self {
        Self {
            placed,
            holders: MostlyOne::None,
        }
    }

    /// Adds one connection or watcher; returns a copy of the broker's answer.
    pub(super) fn add(&mut self, place: ShardAndDialect) -> T {
        let mut all = self.holders.as_mut_slice().iter_mut();
        match all.find(|holder| holder.is(place)) {
            Some(holder) => holder.connections += 1,
            None => self.holders.push(Holder {
                shard: small(place.0),
                dialect: small(place.1),
                connections: 1,
            }),
        }
        self.placed.clone()
    }

    /// Removes one connection or watcher; returns whether that place had one.
    pub(super) fn remove(&mut self, place: ShardAndDialect) -> bool {
        let all = self.holders.as_mut_slice();
        let Some(at) = all.iter().position(|holder| holder.is(place)) else {
            return false;
        };
        all[at].connections -= 1;
        if all[at].connections == 0 {
            self.holders.remove(at);
        }
        true
    }

    /// Returns whether no connection and no watcher needs it.
    pub(super) fn is_empty(&self) -> bool {
        self.holders.as_slice().is_empty()
    }

    /// Returns the shards that need it.
    pub(super) fn shards(&self) -> ShardSet {
        let mut shards = ShardSet::default();
        for holder in self.holders.as_slice() {
            shards.insert(holder.shard.into());
        }
        shards
    }

    /// Returns the number of connections.
    pub(super) fn connections(&self) -> usize {
        let all = self.holders.as_slice().iter();
        let own = all.filter(|holder| holder.dialect != WATCHERS);
        own.map(|holder| holder.connections as usize).sum()
    }

    /// Returns the number of connections of `dialect`.
    pub(super) fn connections_in(&self, dialect: usize) -> usize {
        let all = self.holders.as_slice().iter();
        let here = all.filter(|holder| usize::from(holder.dialect) == dialect);
        here.map(|holder| holder.connections as usize).sum()
    }
}

impl Holder {
    fn is(self, (shard, dialect): ShardAndDialect) -> bool {
        usize::from(self.shard) == shard && usize::from(self.dialect) == dialect
    }
}

fn small(number: usize) -> u8 {
    u8::try_from(number).expect("at most 64 shards and 64 dialects")
}
