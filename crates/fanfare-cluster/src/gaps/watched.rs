//! What this node has received of each audience that it watches, and what waits until a gap is filled. Nothing here does I/O.

use std::collections::VecDeque;

use ahash::AHashMap;
use fanfare_core::{
    Audience,
    history::{Cursor, Epoch, Position},
};

/// What is known of an audience.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Seen {
    /// Its last event that was received has this number. An event with a lower one was received before, or is known to be lost.
    Event(u64),
    /// Nothing was received yet. Its last number when this node began to watch it: events up to there may be on their way.
    Top(u64),
}

impl Seen {
    fn number(self) -> u64 {
        match self {
            Self::Event(number) | Self::Top(number) => number,
        }
    }
}

/// What to do with an event.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Verdict {
    Pass,
    /// It was received before.
    Known,
    /// Events of its audience behind this number are missing before it.
    Gap(u64),
    /// The journal has begun anew: what is missing is not known.
    NewEpoch,
}

/// What is received, as it waits; `T` is the event.
pub(super) struct Waiting<T> {
    pub(super) audience: Audience,
    pub(super) position: Option<Position>,
    pub(super) event: T,
}

/// See the module's documentation.
pub(super) struct Watched<T> {
    epoch: Option<Epoch>,
    seen: AHashMap<Audience, Seen>,
    most: usize,
    /// Events in the order in which they are to pass, while something before them is fetched.
    held: Option<VecDeque<Waiting<T>>>,
    /// The highest number that was received.
    last: u64,
    /// What is published on channels behind this number must arrive, on those too that are not watched by name.
    all_channels: Option<u64>,
}

impl<T> Watched<T> {
    /// Watches at most so many audiences.
    pub(super) fn new(most: usize) -> Self {
        Self {
            epoch: None,
            seen: AHashMap::new(),
            most,
            held: None,
            last: 0,
            all_channels: None,
        }
    }

    /// Whether nothing is watched.
    pub(super) fn is_empty(&self) -> bool {
        self.seen.is_empty() && self.all_channels.is_none()
    }

    pub(super) fn has_room(&self) -> bool {
        !self.is_full()
    }

    /// Whether it watches as many audiences as it may.
    fn is_full(&self) -> bool {
        self.seen.len() >= self.most
    }

    pub(super) fn len(&self) -> usize {
        self.seen.len()
    }

    pub(super) fn is_watched(&self, audience: &Audience) -> bool {
        self.seen.contains_key(audience)
    }

    /// The last number of an audience, if it is watched, by name or as one of all channels.
    pub(super) fn number(&self, audience: &Audience) -> Option<u64> {
        let by_name = self.seen.get(audience).map(|seen| seen.number());
        by_name.or_else(|| self.number_of_all(audience))
    }

    /// The journal whose numbers are known.
    pub(super) fn cursor(&self) -> Option<Cursor> {
        let number = self.last;
        self.epoch.map(|epoch| Cursor { epoch, number })
    }

    /// The highest number that has arrived, whether it has passed or waits.
    pub(super) fn highest(&self) -> u64 {
        let waits = self.held.iter().flatten().filter_map(|waiting| waiting.position);
        let waits = waits.filter(|position| Some(position.epoch) == self.epoch);
        waits
            .map(|position| position.number)
            .max()
            .unwrap_or(0)
            .max(self.last)
    }

    pub(super) fn forget(&mut self, audience: &Audience) {
        self.all_channels = self.all_channels();
        self.seen.remove(audience);
    }

    /// Forgets the audiences that are not `wanted`.
    pub(super) fn retain(&mut self, wanted: impl Fn(&Audience) -> bool) {
        self.all_channels = self.all_channels();
        self.seen.retain(|audience, _| wanted(audience));
    }

    /// The audiences that are watched, and their last numbers, some of them from `start` on.
    pub(super) fn some(&self, start: usize, count: usize) -> Vec<(Audience, u64)> {
        let seen = self.seen.iter().skip(start).take(count);
        seen.map(|(audience, seen)| (audience.clone(), seen.number()))
            .collect()
    }

    /// Judges an event of `audience` at `position`; if it passes, it counts as received.
    pub(super) fn judge(&mut self, audience: &Audience, position: Position) -> Verdict {
        if self.epoch.is_some_and(|epoch| epoch != position.epoch) {
            return Verdict::NewEpoch;
        }
        let has_room = !self.is_full();
        match self.seen.get_mut(audience) {
            Some(Seen::Event(number)) if position.number <= *number => return Verdict::Known,
            // What comes behind it was published later, so it arrives, too.
            Some(seen) if position.number <= seen.number() => *seen = Seen::Event(position.number),
            Some(seen) if position.prev > seen.number() => return Verdict::Gap(seen.number()),
            Some(seen) => *seen = Seen::Event(position.number),
            None if has_room => {
                let behind = self.expected_behind(audience);
                if position.prev > behind {
                    self.seen.insert(audience.clone(), Seen::Top(behind));
                    return Verdict::Gap(behind);
                }
                self.seen.insert(audience.clone(), Seen::Event(position.number));
            }
            None => {}
        }
        self.epoch = Some(position.epoch);
        self.last = self.last.max(position.number);
        Verdict::Pass
    }

    /// Begins to watch `audience`, whose last number is `top`.
    pub(super) fn watch(&mut self, epoch: Epoch, audience: Audience, top: u64) {
        if *self.epoch.get_or_insert(epoch) == epoch && !self.is_full() {
            let top = top.min(self.expected_behind(&audience));
            self.seen.entry(audience).or_insert(Seen::Top(top));
        }
    }

    /// Behind which number events of an audience must arrive as one of all channels, if those are watched.
    pub(super) fn number_of_all(&self, audience: &Audience) -> Option<u64> {
        let is_channel = matches!(audience, Audience::Channel(_));
        self.all_channels().filter(|_| is_channel)
    }

    /// The same; the highest of all numbers if nothing must arrive.
    fn expected_behind(&self, audience: &Audience) -> u64 {
        self.number_of_all(audience).unwrap_or(u64::MAX)
    }

    /// A connection was given everything of `audience` up to `present`: what is behind that must arrive.
    pub(super) fn shown(&mut self, present: Cursor, audience: Audience) {
        if *self.epoch.get_or_insert(present.epoch) != present.epoch {
            return;
        }
        let has_room = !self.is_full();
        let top = present.number.min(self.expected_behind(&audience));
        match self.seen.get_mut(&audience) {
            Some(Seen::Top(number)) => *number = present.number.min(*number),
            None if has_room => _ = self.seen.insert(audience, Seen::Top(top)),
            Some(Seen::Event(_)) | None => {}
        }
    }

    /// The same for all channels.
    pub(super) fn shown_all_channels(&mut self, present: Cursor) {
        if *self.epoch.get_or_insert(present.epoch) == present.epoch {
            let number = self.all_channels.unwrap_or(u64::MAX);
            self.all_channels = Some(number.min(present.number));
        }
    }

    /// No channel has anything between `since` and `present` that was not received, or will be.
    pub(super) fn all_channels_complete(&mut self, since: u64, present: Cursor) {
        if self.all_channels == Some(since) && self.epoch == Some(present.epoch) {
            self.all_channels = Some(present.number.max(since));
        }
    }

    /// `audience` has nothing between `number`, its last one, and `present`.
    pub(super) fn complete(&mut self, audience: &Audience, number: u64, present: Cursor) {
        if let Some(seen) = self.seen.get_mut(audience)
            && seen.number() == number
            && self.epoch == Some(present.epoch)
        {
            *seen = match seen {
                Seen::Event(_) => Seen::Event(present.number.max(number)),
                Seen::Top(_) => Seen::Top(present.number.max(number)),
            };
        }
    }

    /// From which number on channels may have events that were lost, if all of them are watched. A channel that there was no room for has
    /// no last number of its own.
    pub(super) fn all_channels(&self) -> Option<u64> {
        let since = self.all_channels?;
        Some(if self.is_full() {
            since.max(self.last)
        } else {
            since
        })
    }

    /// Does not watch all channels any more.
    pub(super) fn forget_all_channels(&mut self) {
        self.all_channels = None;
    }

    /// What is missing of `audience` up to `number` will not be received.
    pub(super) fn skip(&mut self, audience: &Audience, number: u64) {
        if let Some(seen) = self.seen.get_mut(audience)
            && seen.number() < number
        {
            *seen = Seen::Event(number);
        }
    }

    /// The journal is at `present`. Returns whether it is another one: then what it has up to there counts as lost.
    pub(super) fn begin(&mut self, present: Cursor) -> bool {
        let is_new = self.epoch.is_some_and(|known| known != present.epoch);
        if is_new {
            for seen in self.seen.values_mut() {
                *seen = Seen::Top(present.number);
            }
            self.last = present.number;
            self.all_channels = self.all_channels.map(|_| present.number);
        }
        self.epoch = Some(present.epoch);
        is_new
    }

    /// Whether the event of this number of `audience` was not received, as far as that is known.
    pub(super) fn lacks(&self, audience: &Audience, number: u64) -> bool {
        self.seen
            .get(audience)
            .map_or(!self.is_full(), |seen| seen.number() < number)
    }

    // What waits.

    /// Takes everything that waits.
    pub(super) fn take_held(&mut self) -> VecDeque<Waiting<T>> {
        self.held.take().unwrap_or_default()
    }

    /// Lets events wait from now on.
    pub(super) fn hold(&mut self) {
        self.held.get_or_insert_default();
    }

    pub(super) fn is_holding(&self) -> bool {
        self.held.is_some()
    }

    /// Takes the first event that waits. If none does, events wait no longer.
    pub(super) fn take_first(&mut self) -> Option<Waiting<T>> {
        let first = self.held.as_mut()?.pop_front();
        if first.is_none() {
            self.held = None;
        }
        first
    }

    /// Puts `waiting` at the end.
    pub(super) fn wait(&mut self, waiting: Waiting<T>) {
        self.held.get_or_insert_default().push_back(waiting);
    }

    /// Puts `waiting` before all that waits.
    pub(super) fn wait_first(&mut self, waiting: Waiting<T>) {
        self.held.get_or_insert_default().push_front(waiting);
    }

    /// Puts what was fetched, in the order of its numbers, between what waits: each before the first event with a higher number. What
    /// waits already is not put there again.
    pub(super) fn insert(&mut self, fetched: Vec<Waiting<T>>) {
        let held = self.held.take().unwrap_or_default();
        let mut fetched = fetched.into_iter().peekable();
        let mut merged = VecDeque::with_capacity(held.len() + fetched.len());
        for waiting in held {
            if let Some(position) = waiting.position {
                let is_before = |one: &Waiting<T>| one.number() < position.number;
                while let Some(one) = fetched.next_if(is_before) {
                    merged.push_back(one);
                }
                drop(fetched.next_if(|one| one.number() == position.number));
            }
            merged.push_back(waiting);
        }
        merged.extend(fetched);
        self.held = Some(merged);
    }
}

impl<T> Waiting<T> {
    /// Its number; 0 if it is not kept.
    pub(super) fn number(&self) -> u64 {
        self.position.map_or(0, |position| position.number)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use fanfare_core::Channel;

    use super::*;

    fn named(name: &str) -> Audience {
        Audience::Channel(Channel::new(name).unwrap())
    }

    fn at(epoch: u64, number: u64, prev: u64) -> Position {
        let epoch = Epoch(epoch);
        Position { epoch, number, prev }
    }

    #[test]
    fn events_pass_once_and_gaps_are_seen() {
        let mut watched = Watched::<()>::new(2);
        let (a, b, c) = (named("a"), named("b"), named("c"));
        watched.watch(Epoch(1), b.clone(), 6);
        for (audience, position, expected) in [
            (&a, at(1, 5, 3), Verdict::Pass), // the first one seen
            (&a, at(1, 5, 3), Verdict::Known),
            (&a, at(1, 7, 5), Verdict::Pass),
            (&a, at(1, 12, 9), Verdict::Gap(7)),
            (&a, at(1, 9, 7), Verdict::Pass),
            (&a, at(1, 12, 9), Verdict::Pass),
            (&b, at(1, 4, 0), Verdict::Pass), // on its way when watching began
            (&b, at(1, 6, 4), Verdict::Pass),
            (&b, at(1, 10, 8), Verdict::Gap(6)),
            (&b, at(1, 8, 6), Verdict::Pass),
            (&b, at(1, 6, 4), Verdict::Known),
            (&c, at(1, 13, 2), Verdict::Pass), // one too many to be watched
            (&c, at(1, 13, 2), Verdict::Pass),
            (&a, at(2, 1, 0), Verdict::NewEpoch),
        ] {
            assert_eq!(
                watched.judge(audience, position),
                expected,
                "{audience:?} {position:?}"
            );
        }
        assert_eq!(watched.cursor().unwrap().number, 13);
        watched.skip(&a, 20);
        watched.skip(&a, 15);
        assert_eq!(watched.judge(&a, at(1, 20, 12)), Verdict::Known);
        let present = Cursor {
            epoch: Epoch(2),
            number: 2,
        };
        assert!(watched.begin(present) && !watched.begin(present));
        assert_eq!(watched.judge(&a, at(2, 5, 3)), Verdict::Gap(2));
        assert_eq!(watched.judge(&a, at(2, 2, 0)), Verdict::Pass);
        watched.forget(&a);
        assert_eq!((watched.len(), watched.is_watched(&a)), (1, false));
    }

    #[test]
    fn what_a_connection_was_given_is_the_latest_place_from_which_on_all_must_arrive() {
        let mut watched = Watched::<()>::new(9);
        let present = |number| Cursor {
            epoch: Epoch(1),
            number,
        };
        let (a, b) = (named("a"), named("b"));
        watched.watch(Epoch(1), a.clone(), 12);
        for audience in [&a, &b] {
            watched.shown(present(10), audience.clone());
            watched.shown(present(20), audience.clone());
        }
        assert_eq!(watched.judge(&a, at(1, 13, 12)), Verdict::Gap(10));
        // The first that arrives shows that the later ones do.
        assert_eq!(watched.judge(&a, at(1, 8, 3)), Verdict::Pass);
        assert_eq!(watched.judge(&a, at(1, 10, 9)), Verdict::Gap(8));
        watched.complete(&b, 9, present(30));
        assert_eq!(watched.judge(&b, at(1, 21, 20)), Verdict::Gap(10));
        watched.complete(&b, 10, present(30));
        assert_eq!(watched.judge(&b, at(1, 31, 30)), Verdict::Pass);

        assert_eq!(watched.all_channels(), None);
        watched.shown_all_channels(present(12));
        watched.shown_all_channels(present(11));
        watched.shown_all_channels(present(40));
        assert_eq!(watched.all_channels(), Some(11));
        watched.all_channels_complete(12, present(50));
        assert_eq!(watched.all_channels(), Some(11));
        watched.all_channels_complete(11, present(50));
        assert_eq!(watched.all_channels(), Some(50));
        assert!(watched.lacks(&named("c"), 60), "it was never received");
        assert_eq!(watched.judge(&named("f"), at(1, 58, 55)), Verdict::Gap(50));
        assert_eq!(watched.judge(&named("f"), at(1, 55, 42)), Verdict::Pass);
        assert_eq!(watched.judge(&named("f"), at(1, 58, 55)), Verdict::Pass);
        watched.shown(present(60), named("d"));
        watched.watch(Epoch(1), named("e"), 60);
        for name in ["d", "e"] {
            assert_eq!(
                watched.number(&named(name)),
                Some(50),
                "all channels have it from there on"
            );
        }
    }

    #[test]
    fn what_is_fetched_goes_between_what_waits() {
        let mut watched = Watched::new(9);
        let waiting = |number: u64| Waiting {
            audience: named("a"),
            position: (number > 0).then(|| at(1, number, number - 1)),
            event: number,
        };
        watched.hold();
        for number in [5, 0, 8, 9] {
            watched.wait(waiting(number));
        }
        watched.insert([3, 6, 8, 12].map(waiting).into());
        let order = std::iter::from_fn(|| watched.take_first().map(|waiting| waiting.event));
        assert_eq!(order.collect::<Vec<_>>(), [3, 5, 0, 6, 8, 9, 12]);
        assert!(!watched.is_holding());
    }
}
