//! The connections of a node that need one user or channel: how many, and on which shards.

use std::{borrow::Borrow, hash::Hash};

use super::ShardSet;
use crate::{
    mostly_one::MostlyOne,
    striped::{Striped, forget},
};

pub(super) type ShardAndDialect = (usize, usize);

/// The dialect of operators' watchers, which are no connections and never counted as such.
const WATCHERS: u8 = u8::MAX;
/// The place of watchers: the first shard, which every node has.
pub(super) const WATCHED: ShardAndDialect = (0, WATCHERS as usize);

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
        let own = all.filter(|holder| holder.dialect != WATCHERS);
        own.map(|holder| holder.connections as usize).sum()
    }

    pub(super) fn connections_in(&self, dialect: usize) -> usize {
        let all = self.holders.as_slice().iter();
        let here = all.filter(|holder| usize::from(holder.dialect) == dialect);
        here.map(|holder| holder.connections as usize).sum()
    }
}

impl<N: Clone + Eq + Hash + Borrow<str>, T: Clone> Striped<N, Held<T>> {
    /// Holds `name` for one connection or watcher more. `first` runs under the lock if nothing held it.
    pub(super) fn hold(&self, name: &N, place: ShardAndDialect, first: impl FnOnce() -> T) -> T {
        let mut stripe = self.lock(name.borrow());
        let held = stripe.entry(name.clone());
        held.or_insert_with(|| Held::new(first())).add(place)
    }

    /// Releases what [`Striped::hold`] held; `last` runs under the lock if nothing holds it any more. Returns how many
    /// connections in the dialect of `place` are left, or `None` if that place held nothing.
    pub(super) fn let_go(&self, name: &N, place: ShardAndDialect, last: impl FnOnce()) -> Option<usize> {
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

fn small(number: usize) -> u8 {
    u8::try_from(number).expect("at most 64 shards and 64 dialects")
}
