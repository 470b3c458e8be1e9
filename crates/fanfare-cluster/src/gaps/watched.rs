//! The numbers that this node has received of each watched audience, and the events that wait until a gap is filled. This module does
//! no I/O.

use std::collections::VecDeque;

use ahash::AHashMap;
use fanfare_core::{
    Audience,
    history::{Cursor, Epoch, History, Position},
};

use crate::arrivals::ArrivedEvent;

/// The last number of an audience.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Seen {
    /// The number of the last received event. Events with lower numbers were received or reported as lost.
    Event(u64),
    /// The journal's last number when the watch began; no event was received since. Events up to this number may still arrive.
    Top(u64),
}

impl Seen {
    fn number(self) -> u64 {
        match self {
            Self::Event(number) | Self::Top(number) => number,
        }
    }
}

/// The decision about an event.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Verdict {
    Pass,
    /// It was received before.
    Duplicate,
    /// Events between this number and the event are missing.
    Gap(u64),
    /// The epoch is new, so the missing events are unknown.
    NewEpoch,
}

/// Returns the place of a kept event, even if it is delivered late.
pub(super) fn place(arrived: &ArrivedEvent) -> Option<Position> {
    match arrived.event.history {
        History::Late(position) => Some(position),
        ref history => history.position(),
    }
}

/// See the module's documentation.
pub(super) struct Watched {
    epoch: Option<Epoch>,
    seen: AHashMap<Audience, Seen>,
    most: usize,
    /// The waiting events in order, while events before them are fetched.
    held: Option<VecDeque<ArrivedEvent>>,
    /// The highest number that was received.
    last: u64,
    /// The number after which all events on channels must arrive, also on channels that are not watched by name.
    all_channels: Option<u64>,
}

impl Watched {
    /// Creates an empty state that watches at most `most` audiences.
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

    /// Returns whether no audience is watched.
    pub(super) fn is_empty(&self) -> bool {
        self.seen.is_empty() && self.all_channels.is_none()
    }

    /// Returns whether the limit of audiences is reached.
    pub(super) fn is_full(&self) -> bool {
        self.seen.len() >= self.most
    }

    pub(super) fn len(&self) -> usize {
        self.seen.len()
    }

    pub(super) fn is_watched(&self, audience: &Audience) -> bool {
        self.seen.contains_key(audience)
    }

    /// Returns the last number of an audience that is watched by name or as one of all channels.
    pub(super) fn number(&self, audience: &Audience) -> Option<u64> {
        let by_name = self.seen.get(audience).map(|seen| seen.number());
        by_name.or_else(|| self.number_of_all(audience))
    }

    /// Returns the journal's epoch and the highest received number.
    pub(super) fn cursor(&self) -> Option<Cursor> {
        let number = self.last;
        self.epoch.map(|epoch| Cursor { epoch, number })
    }

    /// Returns the highest number that has arrived, waiting events included.
    pub(super) fn highest(&self) -> u64 {
        let waits = self.held.iter().flatten().filter_map(place);
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

    /// Removes the audiences that are not `wanted`.
    pub(super) fn retain(&mut self, wanted: impl Fn(&Audience) -> bool) {
        self.all_channels = self.all_channels();
        self.seen.retain(|audience, _| wanted(audience));
    }

    /// Returns `count` of the watched audiences from index `start` on, with their last numbers.
    pub(super) fn page(&self, start: usize, count: usize) -> Vec<(Audience, u64)> {
        let seen = self.seen.iter().skip(start).take(count);
        seen.map(|(audience, seen)| (audience.clone(), seen.number()))
            .collect()
    }

    /// Decides about an event of `audience` at `position`. If it passes, notes it as received.
    pub(super) fn judge(&mut self, audience: &Audience, position: Position) -> Verdict {
        if self.epoch.is_some_and(|epoch| epoch != position.epoch) {
            return Verdict::NewEpoch;
        }
        let has_room = !self.is_full();
        match self.seen.get_mut(audience) {
            Some(Seen::Event(number)) if position.number <= *number => return Verdict::Duplicate,
            // Later events were published after it, so they arrive as well.
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

    /// Starts to watch `audience`, whose last number is `top`.
    pub(super) fn watch(&mut self, epoch: Epoch, audience: Audience, top: u64) {
        if *self.epoch.get_or_insert(epoch) == epoch && !self.is_full() {
            let top = top.min(self.expected_behind(&audience));
            self.seen.entry(audience).or_insert(Seen::Top(top));
        }
    }

    /// Returns the number after which events of `audience` must arrive because all channels are watched.
    pub(super) fn number_of_all(&self, audience: &Audience) -> Option<u64> {
        let is_channel = matches!(audience, Audience::Channel(_));
        self.all_channels().filter(|_| is_channel)
    }

    /// Like [`Self::number_of_all`]; the highest possible number if no event must arrive.
    fn expected_behind(&self, audience: &Audience) -> u64 {
        self.number_of_all(audience).unwrap_or(u64::MAX)
    }

    /// Notes that a connection received all events of `audience` up to `present`, so later events must arrive.
    pub(super) fn replayed(&mut self, present: Cursor, audience: Audience) {
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

    /// Like [`Self::replayed`], for all channels.
    pub(super) fn watch_all_channels(&mut self, present: Cursor) {
        if *self.epoch.get_or_insert(present.epoch) == present.epoch {
            let number = self.all_channels.unwrap_or(u64::MAX);
            self.all_channels = Some(number.min(present.number));
        }
    }

    /// Notes that all events on channels between `since` and `present` were or will be received.
    pub(super) fn all_channels_complete(&mut self, since: u64, present: Cursor) {
        if self.all_channels == Some(since) && self.epoch == Some(present.epoch) {
            self.all_channels = Some(present.number.max(since));
        }
    }

    /// Notes that `audience` has no events between its last `number` and `present`.
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

    /// Returns the number after which channels may have lost events, if all channels are watched. Channels above the limit have no
    /// separate last number.
    pub(super) fn all_channels(&self) -> Option<u64> {
        let since = self.all_channels?;
        Some(if self.is_full() {
            since.max(self.last)
        } else {
            since
        })
    }

    /// Stops to watch all channels.
    pub(super) fn forget_all_channels(&mut self) {
        self.all_channels = None;
    }

    /// Gives up the missing events of `audience` up to `number`.
    pub(super) fn skip(&mut self, audience: &Audience, number: u64) {
        if let Some(seen) = self.seen.get_mut(audience)
            && seen.number() < number
        {
            *seen = Seen::Event(number);
        }
    }

    /// Notes the journal's cursor. Returns whether its epoch is new: then all events up to `present` count as lost.
    pub(super) fn note_epoch(&mut self, present: Cursor) -> bool {
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

    /// Returns whether the event `number` of `audience` was not received, as far as known.
    pub(super) fn is_missing(&self, audience: &Audience, number: u64) -> bool {
        self.seen
            .get(audience)
            .map_or(!self.is_full(), |seen| seen.number() < number)
    }

    // Waiting events.

    /// Takes all waiting events.
    pub(super) fn take_held(&mut self) -> VecDeque<ArrivedEvent> {
        self.held.take().unwrap_or_default()
    }

    /// Lets events wait from now on.
    pub(super) fn hold(&mut self) {
        self.held.get_or_insert_default();
    }

    pub(super) fn is_holding(&self) -> bool {
        self.held.is_some()
    }

    /// Takes the first waiting event. If there is none, further events do not wait.
    pub(super) fn take_first(&mut self) -> Option<ArrivedEvent> {
        let first = self.held.as_mut()?.pop_front();
        if first.is_none() {
            self.held = None;
        }
        first
    }

    pub(super) fn push_back(&mut self, waiting: ArrivedEvent) {
        self.held.get_or_insert_default().push_back(waiting);
    }

    pub(super) fn push_front(&mut self, waiting: ArrivedEvent) {
        self.held.get_or_insert_default().push_front(waiting);
    }

    /// Inserts fetched events, in the order of their numbers: each before the first waiting event with a higher number. Drops those that
    /// already wait.
    pub(super) fn insert(&mut self, fetched: Vec<ArrivedEvent>) {
        let held = self.held.take().unwrap_or_default();
        let mut fetched = fetched.into_iter().peekable();
        let mut merged = VecDeque::with_capacity(held.len() + fetched.len());
        for waiting in held {
            if let Some(Position { number, .. }) = place(&waiting) {
                let number_of = |fetched: &_| place(fetched).map_or(0, |position| position.number);
                while let Some(earlier) = fetched.next_if(|fetched| number_of(fetched) < number) {
                    merged.push_back(earlier);
                }
                drop(fetched.next_if(|fetched| number_of(fetched) == number));
            }
            merged.push_back(waiting);
        }
        merged.extend(fetched);
        self.held = Some(merged);
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use std::time::Instant;

    use fanfare_core::{Channel, Event};

    use super::*;
    use crate::test_hub::to;

    fn named(name: &str) -> Audience {
        Audience::Channel(Channel::new(name).unwrap())
    }

    fn at(epoch: u64, number: u64, prev: u64) -> Position {
        let epoch = Epoch(epoch);
        Position { epoch, number, prev }
    }

    #[test]
    fn events_pass_once_and_gaps_are_found() {
        let mut watched = Watched::new(2);
        let (a, b, c) = (named("a"), named("b"), named("c"));
        watched.watch(Epoch(1), b.clone(), 6);
        for (audience, position, expected) in [
            (&a, at(1, 5, 3), Verdict::Pass), // the first one
            (&a, at(1, 5, 3), Verdict::Duplicate),
            (&a, at(1, 7, 5), Verdict::Pass),
            (&a, at(1, 12, 9), Verdict::Gap(7)),
            (&a, at(1, 9, 7), Verdict::Pass),
            (&a, at(1, 12, 9), Verdict::Pass),
            (&b, at(1, 4, 0), Verdict::Pass), // published before the watch began
            (&b, at(1, 6, 4), Verdict::Pass),
            (&b, at(1, 10, 8), Verdict::Gap(6)),
            (&b, at(1, 8, 6), Verdict::Pass),
            (&b, at(1, 6, 4), Verdict::Duplicate),
            (&c, at(1, 13, 2), Verdict::Pass), // above the limit of audiences
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
        assert_eq!(watched.judge(&a, at(1, 20, 12)), Verdict::Duplicate);
        let present = Cursor {
            epoch: Epoch(2),
            number: 2,
        };
        assert!(watched.note_epoch(present) && !watched.note_epoch(present));
        assert_eq!(watched.judge(&a, at(2, 5, 3)), Verdict::Gap(2));
        assert_eq!(watched.judge(&a, at(2, 2, 0)), Verdict::Pass);
        watched.forget(&a);
        assert_eq!((watched.len(), watched.is_watched(&a)), (1, false));
    }

    #[test]
    fn all_events_after_a_replay_must_arrive() {
        let mut watched = Watched::new(9);
        let present = |number| Cursor {
            epoch: Epoch(1),
            number,
        };
        let (a, b) = (named("a"), named("b"));
        watched.watch(Epoch(1), a.clone(), 12);
        for audience in [&a, &b] {
            watched.replayed(present(10), audience.clone());
            watched.replayed(present(20), audience.clone());
        }
        assert_eq!(watched.judge(&a, at(1, 13, 12)), Verdict::Gap(10));
        // The first event that arrives shows that later events arrive.
        assert_eq!(watched.judge(&a, at(1, 8, 3)), Verdict::Pass);
        assert_eq!(watched.judge(&a, at(1, 10, 9)), Verdict::Gap(8));
        watched.complete(&b, 9, present(30));
        assert_eq!(watched.judge(&b, at(1, 21, 20)), Verdict::Gap(10));
        watched.complete(&b, 10, present(30));
        assert_eq!(watched.judge(&b, at(1, 31, 30)), Verdict::Pass);

        assert_eq!(watched.all_channels(), None);
        watched.watch_all_channels(present(12));
        watched.watch_all_channels(present(11));
        watched.watch_all_channels(present(40));
        assert_eq!(watched.all_channels(), Some(11));
        watched.all_channels_complete(12, present(50));
        assert_eq!(watched.all_channels(), Some(11));
        watched.all_channels_complete(11, present(50));
        assert_eq!(watched.all_channels(), Some(50));
        assert!(watched.is_missing(&named("c"), 60), "it was never received");
        assert_eq!(watched.judge(&named("f"), at(1, 58, 55)), Verdict::Gap(50));
        assert_eq!(watched.judge(&named("f"), at(1, 55, 42)), Verdict::Pass);
        assert_eq!(watched.judge(&named("f"), at(1, 58, 55)), Verdict::Pass);
        watched.replayed(present(60), named("d"));
        watched.watch(Epoch(1), named("e"), 60);
        for name in ["d", "e"] {
            assert_eq!(
                watched.number(&named(name)),
                Some(50),
                "all channels are watched from there on"
            );
        }
    }

    #[test]
    fn fetched_events_are_inserted_between_waiting_events() {
        let mut watched = Watched::new(9);
        let waiting = |number: u64| ArrivedEvent {
            by_all_channels: false,
            event: Event {
                history: number
                    .checked_sub(1)
                    .map_or(History::None, |prev| History::Kept(at(1, number, prev))),
                ..to(named("a"), &number.to_string())
            },
            envelope: None,
            since: Instant::now(),
        };
        watched.hold();
        for number in [5, 0, 8, 9] {
            watched.push_back(waiting(number));
        }
        watched.insert([3, 6, 8, 12].map(waiting).into());
        let order = std::iter::from_fn(|| watched.take_first());
        let order = order.map(|waiting| waiting.event.data.as_str().to_owned());
        assert_eq!(order.collect::<Vec<_>>(), ["3", "5", "0", "6", "8", "9", "12"]);
        assert!(!watched.is_holding());
    }
}
