//! Queries: their rings, whether the rings are complete, and the events in one order.

use std::{cmp::Reverse, sync::Arc};

use fanfare_core::{
    Audience,
    history::{Cursor, Epoch, Unrecovered},
    journal::{Replay, ReplayFrom, ReplayQuery, ReplayScope, is_complete},
};

use super::{
    JournalState,
    ring::{Kept, Ring},
};

/// Answers `query` at the time `now`.
pub(super) fn read(state: &JournalState, epoch: Epoch, query: &ReplayQuery, now: u64) -> Replay {
    let present = Cursor {
        epoch,
        number: state.last,
    };
    let (events, unrecovered) = match query.from {
        ReplayFrom::Present => (Vec::new(), None),
        ReplayFrom::After(cursor) => match all_after(state, present, cursor, query, now) {
            Ok(events) => (events, None),
            Err(reason) => (Vec::new(), Some(reason)),
        },
        ReplayFrom::Newest(count) => (newest(state, query, count, now, |_| true), None),
        ReplayFrom::Within(age) => {
            let is_young = |kept: &Kept| u128::from(now.saturating_sub(kept.at)) <= age.as_millis();
            (newest(state, query, query.limit, now, is_young), None)
        }
        ReplayFrom::Page { since, reverse } => page(state, present, query, (since, reverse), now),
    };
    Replay {
        present: Some(present),
        unrecovered,
        events: events.into_iter().map(|kept| Arc::clone(&kept.event)).collect(),
    }
}

/// Returns all events after `cursor`, or the reason why they are not complete.
fn all_after<'a>(
    state: &'a JournalState,
    present: Cursor,
    cursor: Cursor,
    query: &ReplayQuery,
    now: u64,
) -> Result<Vec<&'a Kept>, Unrecovered> {
    check(present, cursor)?;
    let after = cursor.number;
    let rings = rings(state, &query.scope, after);
    if !state.is_complete(&query.scope, &rings, after, now) {
        return Err(Unrecovered::Expired);
    }
    let mut events: Vec<&Kept> = Vec::new();
    for ring in rings {
        events.extend(ring.after(after, now));
        if events.len() > query.limit {
            return Err(Unrecovered::Limit);
        }
    }
    events.sort_unstable_by_key(|kept| kept.position.number);
    Ok(events)
}

/// Checks that `cursor` is one of this journal.
fn check(present: Cursor, cursor: Cursor) -> Result<(), Unrecovered> {
    if cursor.epoch != present.epoch {
        Err(Unrecovered::Epoch)
    } else if cursor.number > present.number {
        Err(Unrecovered::Unknown) // from the future
    } else {
        Ok(())
    }
}

/// Returns the newest `count` unexpired events that are wanted, up to the limit, the oldest first.
fn newest<'a>(
    state: &'a JournalState,
    query: &ReplayQuery,
    count: usize,
    now: u64,
    is_wanted: impl Fn(&Kept) -> bool,
) -> Vec<&'a Kept> {
    let count = count.min(query.limit);
    let mut events: Vec<&Kept> = Vec::new();
    for ring in rings(state, &query.scope, 0) {
        let own = ring.after(0, now).rev().take_while(|kept| is_wanted(kept));
        events.extend(own.take(count));
        // Otherwise a query of many rings would collect `count` events of each.
        if events.len() > 4 * count.max(64) {
            keep_newest(&mut events, count);
        }
    }
    keep_newest(&mut events, count);
    events.reverse();
    events
}

/// Truncates `events` to the newest `count`, newest first.
fn keep_newest(events: &mut Vec<&Kept>, count: usize) {
    events.sort_unstable_by_key(|kept| Reverse(kept.position.number));
    events.truncate(count);
}

/// Returns a page, and the reason if it does not continue from its cursor.
fn page<'a>(
    state: &'a JournalState,
    present: Cursor,
    query: &ReplayQuery,
    (since, reverse): (Option<Cursor>, bool),
    now: u64,
) -> (Vec<&'a Kept>, Option<Unrecovered>) {
    let bad = since.and_then(|cursor| check(present, cursor).err());
    let since = since.filter(|_| bad.is_none());
    let after = since.filter(|_| !reverse).map_or(0, |cursor| cursor.number);
    let before = since.filter(|_| reverse).map_or(u64::MAX, |cursor| cursor.number);
    let rings = rings(state, &query.scope, after);
    let is_complete = since.is_none() || reverse || state.is_complete(&query.scope, &rings, after, now);
    let mut events: Vec<&Kept> = Vec::new();
    for ring in rings {
        events.extend(
            ring.after(after, now)
                .filter(|kept| kept.position.number < before),
        );
    }
    if reverse {
        keep_newest(&mut events, query.limit);
    } else {
        events.sort_unstable_by_key(|kept| kept.position.number);
        events.truncate(query.limit);
    }
    (events, bad.or((!is_complete).then_some(Unrecovered::Expired)))
}

/// Returns the rings of `scope` whose last number is above `after`, each once.
fn rings<'a>(state: &'a JournalState, scope: &ReplayScope, after: u64) -> Vec<&'a Ring> {
    let mut places: Vec<usize> = scope
        .named()
        .filter_map(|audience| state.by_audience.get(&audience).copied())
        .collect();
    if !scope.patterns.is_empty() {
        let active = state.by_top.range(after + 1..);
        let matching = active.filter(|(_, place)| {
            let audience = state.rings.get(**place).map(|ring| &ring.audience);
            matches!(audience, Some(Audience::Channel(channel)) if scope.matches(channel))
        });
        places.extend(matching.map(|(_, place)| *place));
    }
    places.sort_unstable();
    places.dedup();
    let rings = places.into_iter().filter_map(|place| state.rings.get(place));
    rings.filter(|ring| ring.top > after).collect()
}

impl JournalState {
    /// Returns whether all events of `scope` after number `after` are kept; `rings` are those with a last number above it.
    fn is_complete(&self, scope: &ReplayScope, rings: &[&Ring], after: u64, now: u64) -> bool {
        let may_be_forgotten = || {
            !scope.patterns.is_empty()
                || scope
                    .named()
                    .any(|audience| !self.by_audience.contains_key(&audience))
        };
        let is_whole = |ring: &&Ring| {
            let oldest = ring.after(after, now).next();
            is_complete(after, ring.top, oldest.map(|kept| kept.position.prev))
        };
        (self.forgotten <= after || !may_be_forgotten()) && rings.iter().all(is_whole)
    }
}
