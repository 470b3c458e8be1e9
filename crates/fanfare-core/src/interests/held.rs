//! What a node holds of one thing: how many connections, and where.

use smallvec::SmallVec;

use super::ShardSet;

/// A shard and a dialect, by their numbers.
pub(super) type Place = (usize, usize);

/// Something that connections of this node want to hear of, and what the broker answered to the first of them.
#[derive(Debug)]
pub(super) struct Held<T> {
    placed: T,
    /// Most have one entry.
    holders: SmallVec<[Holder; 1]>,
}

/// How many connections one place holds; never zero.
#[derive(Debug, Clone, Copy)]
struct Holder {
    shard: u8,
    dialect: u8,
    connections: u32,
}

impl<T: Clone> Held<T> {
    /// Nobody wants it yet.
    pub(super) fn new(placed: T) -> Self {
        Self {
            placed,
            holders: SmallVec::new(),
        }
    }

    /// One connection more; a copy of what the broker answered.
    pub(super) fn add(&mut self, place: Place) -> T {
        match self.holders.iter_mut().find(|holder| holder.is(place)) {
            Some(holder) => holder.connections += 1,
            None => self.holders.push(Holder {
                shard: small(place.0),
                dialect: small(place.1),
                connections: 1,
            }),
        }
        self.placed.clone()
    }

    /// One connection fewer; answers whether that place had one.
    pub(super) fn remove(&mut self, place: Place) -> bool {
        let Some(at) = self.holders.iter().position(|holder| holder.is(place)) else {
            return false;
        };
        self.holders[at].connections -= 1;
        if self.holders[at].connections == 0 {
            self.holders.swap_remove(at);
        }
        true
    }

    /// Whether nobody wants it any more.
    pub(super) fn is_empty(&self) -> bool {
        self.holders.is_empty()
    }

    /// The shards that want it.
    pub(super) fn shards(&self) -> ShardSet {
        let mut shards = ShardSet::default();
        for holder in &self.holders {
            shards.insert(holder.shard.into());
        }
        shards
    }

    /// How many connections want it.
    pub(super) fn connections(&self) -> usize {
        let all = self.holders.iter();
        all.map(|holder| holder.connections as usize).sum()
    }

    /// How many connections of `dialect` want it.
    pub(super) fn connections_in(&self, dialect: usize) -> usize {
        let all = self.holders.iter();
        let here = all.filter(|holder| usize::from(holder.dialect) == dialect);
        here.map(|holder| holder.connections as usize).sum()
    }
}

impl Holder {
    fn is(self, (shard, dialect): Place) -> bool {
        usize::from(self.shard) == shard && usize::from(self.dialect) == dialect
    }
}

fn small(number: usize) -> u8 {
    u8::try_from(number).expect("at most 64 shards and 64 dialects")
}
