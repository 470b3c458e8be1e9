//! Counts the connections of a node that hold one interest, by shard and dialect.

use std::{borrow::Borrow, hash::Hash};

use super::ShardSet;
use crate::{
    mostly_one::MostlyOne,
    striped::{Striped, forget},
};

pub(super) type ShardAndDialect = (usize, usize);

/// The dialect of operators' watchers, which do not count as connections.
const WATCHERS: u8 = u8::MAX;
/// The shard and dialect of watchers. Every node has a first shard.
pub(super) const WATCHER: ShardAndDialect = (0, WATCHERS as usize);

/// The broker's answer to the request for an interest, and the connections that hold it.
#[derive(Debug)]
pub(super) struct Held<T> {
    answer: T,
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
    pub(super) fn new(answer: T) -> Self {
        Self {
            answer,
            holders: MostlyOne::None,
        }
    }

    /// Adds a connection or watcher, and returns a copy of the broker's answer.
    pub(super) fn add(&mut self, place: ShardAndDialect) -> T {
        let mut all = self.holders.as_mut_slice().iter_mut();
        match all.find(|holder| holder.is(place)) {
            Some(holder) => holder.connections += 1,
            None => self.holders.push(Holder {
                shard: to_u8(place.0),
                dialect: to_u8(place.1),
                connections: 1,
            }),
        }
        self.answer.clone()
    }

    /// Removes a connection or watcher. Returns `true` if there was one in `place`.
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

    pub(super) fn is_empty(&self) -> bool {
        self.holders.as_slice().is_empty()
    }

    pub(super) fn shards(&self) -> ShardSet {
        let mut shards = ShardSet::default();
        for holder in self.holders.as_slice() {
            shards.insert(holder.shard.into());
        }
        shards
    }

    pub(super) fn connections(&self) -> usize {
        let all = self.holders.as_slice().iter();
        let connections = all.filter(|holder| holder.dialect != WATCHERS);
        connections.map(|holder| holder.connections as usize).sum()
    }

    pub(super) fn connections_in(&self, dialect: usize) -> usize {
        let all = self.holders.as_slice().iter();
        let connections = all.filter(|holder| usize::from(holder.dialect) == dialect);
        connections.map(|holder| holder.connections as usize).sum()
    }
}

impl<N: Clone + Eq + Hash + Borrow<str>, T: Clone> Striped<N, Held<T>> {
    /// Acquires `name` for a connection or watcher. `first` is called under the lock if it is the first holder.
    pub(super) fn acquire(&self, name: &N, place: ShardAndDialect, first: impl FnOnce() -> T) -> T {
        let mut stripe = self.lock(name.borrow());
        let held = stripe.entry(name.clone());
        held.or_insert_with(|| Held::new(first())).add(place)
    }

    /// Releases `name` for a connection or watcher. `last` is called under the lock if it was the last holder. Returns the
    /// number of connections that are left in the dialect of `place`; `None` if `place` had no holder.
    pub(super) fn release(&self, name: &N, place: ShardAndDialect, last: impl FnOnce()) -> Option<usize> {
        let mut stripe = self.lock(name.borrow());
        let held = stripe.get_mut(name.borrow())?;
        if !held.remove(place) {
            return None;
        }
        let left = held.connections_in(place.1);
        if held.is_empty() {
            forget(&mut stripe, name.borrow());
            last();
        }
        Some(left)
    }
}

impl Holder {
    fn is(self, (shard, dialect): ShardAndDialect) -> bool {
        usize::from(self.shard) == shard && usize::from(self.dialect) == dialect
    }
}

fn to_u8(number: usize) -> u8 {
    u8::try_from(number).expect("at most 64 shards and 64 dialects")
}
