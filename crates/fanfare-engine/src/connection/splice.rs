//! The transition of a resumed connection from replayed to live events: the replayed events, the live events that are held back
//! meanwhile, and the ranges whose live events were already replayed.

use std::{collections::VecDeque, mem, sync::Arc};

use bytes::Bytes;
use fanfare_core::{
    Audience, Event, Subscription,
    history::{Cursor, Epoch, Position, Resumption, Since, Unrecovered},
    journal::{Replay, ReplayScope},
};

use super::subscriptions::{shows_channel, shows_everyone, shows_user};

/// The most windows of one connection. Another window replaces the oldest, and an event that is still in flight may be repeated.
const MAX_WINDOWS: usize = 64;

/// The state of a connection whose events carry cursors.
#[derive(Default)]
pub(crate) struct Splice {
    /// The result of a resume that its conversation does not have yet.
    pub(super) resumed: Option<Resumption>,
    hold: Option<Hold>,
    /// The ranges that were replayed, until all their live events have arrived.
    windows: Vec<Window>,
    /// The cursor from which each resumed subscription is complete.
    complete: Vec<(Subscription, Cursor)>,
    /// The number of holds that have ended, so that an answer for an earlier hold is recognised.
    released: u64,
    /// Whether the connection was paused, and its client must still be notified.
    is_interrupted: bool,
}

/// The items that wait while events are held back.
#[derive(Default)]
struct Hold {
    /// The scope for which the journal is being read, and the number of items that precede the replay.
    reading: Option<(ReplayScope, usize)>,
    /// Whether the authorizer is being asked about the first item.
    is_asking: bool,
    waiting: VecDeque<HeldItem>,
    /// The number of replayed events among the waiting items.
    replayed: usize,
    /// The number of live frames among them, and of their bytes.
    frames: usize,
    bytes: usize,
    /// The time at which the client last took an item, in milliseconds of the node's clock.
    progress_at: u64,
}

/// An item for the client.
pub(crate) enum HeldItem {
    /// An event that is judged before it is sent.
    Event(Arc<Event>),
    /// An event that may be sent.
    Allowed(Arc<Event>),
    /// A frame of a live event, or of no event.
    Frame(Bytes, Option<(Audience, Position)>),
}

/// The range of one read of the journal.
struct Window {
    scope: ReplayScope,
    up_to: Cursor,
    /// Whether the journal returned no events.
    is_empty: bool,
    /// Whether a subscription was resumed again: its earlier replay is not in this window.
    is_again: bool,
    /// The connection's other subscriptions, each with the cursor from which it is complete.
    others: Vec<(Subscription, Option<Cursor>)>,
}

impl Window {
    /// Returns whether this window covers all events of `other`.
    fn includes(&self, other: &Self) -> bool {
        !self.is_again
            && self.scope == other.scope
            && self.up_to.epoch == other.up_to.epoch
            && self.up_to.number >= other.up_to.number
    }

    /// Returns whether another subscription showed the event, so that it was not replayed.
    fn is_shown_besides(&self, audience: &Audience, position: Position) -> bool {
        self.others.iter().any(|(other, complete)| {
            let is_complete =
                complete.is_some_and(|from| from.epoch == position.epoch && from.number < position.number);
            (is_complete || self.is_empty) && shows(other, audience)
        })
    }

    /// Returns whether a live event was replayed, or is older than the cursor of the answer.
    fn has(&self, audience: &Audience, position: Position) -> bool {
        self.up_to.epoch == position.epoch
            && position.number <= self.up_to.number
            && self.scope.covers(audience)
            && !self.is_shown_besides(audience, position)
    }

    /// Returns whether a held item is such an event.
    fn has_held(&self, held: &HeldItem) -> bool {
        match held {
            HeldItem::Event(event) | HeldItem::Allowed(event) => {
                let position = event.history.position();
                position.is_some_and(|position| self.has(&event.audience, position))
            }
            HeldItem::Frame(_, Some((audience, position))) => self.has(audience, *position),
            HeldItem::Frame(_, None) => false,
        }
    }
}

impl Hold {
    /// Inserts the replayed events behind the first `before` items, and drops later items that the window covers.
    fn take(&mut self, replayed: Vec<Arc<Event>>, before: usize, window: &Window) {
        let later = self.waiting.split_off(before.min(self.waiting.len()));
        self.replayed += replayed.len();
        self.waiting.extend(replayed.into_iter().map(HeldItem::Event));
        for waiting in later {
            if !window.has_held(&waiting) {
                self.waiting.push_back(waiting);
            } else if let HeldItem::Frame(frame, _) = waiting {
                self.frames -= 1;
                self.bytes -= frame.len();
            }
        }
    }
}

fn shows(wanted: &Subscription, audience: &Audience) -> bool {
    match audience {
        Audience::Channel(channel) => shows_channel(wanted, channel),
        Audience::User(user) => shows_user(wanted, user),
        Audience::Everyone => shows_everyone(wanted),
    }
}

impl Splice {
    pub(super) fn hold(&mut self, now: u64) {
        let hold = self.hold.get_or_insert_default();
        hold.progress_at = now;
    }

    /// Records that the journal is read for `scope`.
    pub(super) fn read(&mut self, scope: ReplayScope, now: u64) {
        self.hold(now);
        if let Some(hold) = &mut self.hold {
            // Before the first resume, all items since the handshake may be repeats.
            let before = if self.windows.is_empty() && self.complete.is_empty() {
                0
            } else {
                hold.waiting.len()
            };
            hold.reading = Some((scope, before));
        }
    }

    /// Returns the number of waiting items that are not replayed.
    pub(super) fn live(&self) -> usize {
        self.hold
            .as_ref()
            .map_or(0, |hold| hold.waiting.len().saturating_sub(hold.replayed))
    }

    pub(super) fn is_holding(&self) -> bool {
        self.hold.is_some()
    }

    /// Returns whether it waits for the journal or the authorizer.
    pub(super) fn is_awaiting(&self) -> bool {
        self.hold
            .as_ref()
            .is_some_and(|hold| hold.reading.is_some() || hold.is_asking)
    }

    /// Returns whether the client has taken nothing for `patience`, although items wait for it.
    pub(super) fn is_stuck(&self, now: u64, patience: u64) -> bool {
        self.hold.as_ref().is_some_and(|hold| {
            !hold.waiting.is_empty()
                && !self.is_awaiting()
                && now.saturating_sub(hold.progress_at) >= patience
        })
    }

    /// Returns the number of live frames that wait, and of their bytes.
    pub(super) fn held(&self) -> (usize, usize) {
        self.hold
            .as_ref()
            .map_or((0, 0), |hold| (hold.frames, hold.bytes))
    }

    pub(super) fn holds(&self, frame: &Bytes) -> bool {
        self.hold.as_ref().is_some_and(|hold| {
            hold.waiting.iter().any(|waiting| match waiting {
                HeldItem::Frame(held, _) => held.as_ptr() == frame.as_ptr(),
                HeldItem::Event(_) | HeldItem::Allowed(_) => false,
            })
        })
    }

    pub(super) fn push(&mut self, waiting: HeldItem) {
        let Some(hold) = &mut self.hold else { return };
        if let HeldItem::Frame(frame, _) = &waiting {
            hold.frames += 1;
            hold.bytes += frame.len();
        }
        hold.waiting.push_back(waiting);
    }

    /// Takes the result of the journal. `named` are the resumed subscriptions, `others` the connection's other ones.
    pub(super) fn take(
        &mut self,
        replay: Replay,
        since: Since,
        (named, others): (Vec<Subscription>, Vec<Subscription>),
    ) -> Resumption {
        let Some(hold) = &mut self.hold else {
            return Resumption {
                cursor: replay.present,
                replayed: Err(Unrecovered::Expired),
            };
        };
        let (scope, before) = hold.reading.take().unwrap_or_default();
        let again = match replay.unrecovered {
            None => again(&self.complete, since, &named),
            Some(_) => Vec::new(), // the client starts over
        };
        let window = Window {
            scope,
            up_to: replay.present.unwrap_or(Cursor {
                epoch: Epoch(0),
                number: 0,
            }),
            is_empty: replay.unrecovered.is_some() || since == Since::Now,
            is_again: !again.is_empty(),
            others: with_cursors(&self.complete, others)
                .chain(again.iter().cloned())
                .collect(),
        };
        let is_new = |event: &Arc<Event>| {
            let position = event.history.position();
            position.is_none_or(|position| !window.is_shown_besides(&event.audience, position))
        };
        let first = replay.events.first().and_then(|event| event.history.position());
        let events: Vec<Arc<Event>> = replay.events.into_iter().filter(is_new).collect();
        let replayed = events.len();
        hold.take(events, before, &window);
        let cursor = cursor_after(since, (replay.present, replay.unrecovered), first);
        let shows_more = replayed > 0 || again.len() < named.len();
        for subscription in named {
            self.forget(&subscription);
            let before = again.iter().find(|(own, _)| *own == subscription);
            let from = match (cursor, before) {
                (Some(from), Some((_, Some(before)))) => Some(earlier(from, *before)),
                (from, _) => from,
            };
            self.complete.extend(from.map(|from| (subscription, from)));
        }
        if shows_more {
            self.add(window);
        }
        Resumption {
            cursor,
            replayed: replay.unrecovered.map_or(Ok(replayed), Err),
        }
    }

    /// Adds a window, and removes those that it includes: without newer events, windows would never end.
    fn add(&mut self, window: Window) {
        self.windows.retain(|other| !window.includes(other));
        if self.windows.len() >= MAX_WINDOWS {
            self.windows.remove(0);
        }
        self.windows.push(window);
    }

    pub(super) fn forget(&mut self, ended: &Subscription) {
        self.complete.retain(|(own, _)| own != ended);
    }

    pub(super) fn has_windows(&self) -> bool {
        !self.windows.is_empty()
    }

    /// Returns whether a live event was replayed.
    pub(super) fn is_repeat(&mut self, audience: &Audience, position: Position) -> bool {
        if self.windows.is_empty() {
            return false;
        }
        // Events arrive in the order of their numbers: an event behind a window shows that the whole window has arrived.
        let is_before =
            |window: &Window| window.up_to.epoch == position.epoch && position.number <= window.up_to.number;
        self.windows.retain(is_before);
        self.windows.iter().any(|window| window.has(audience, position))
    }

    /// Takes the next item; returns `None` if nothing waits any more.
    pub(super) fn next(&mut self, now: u64) -> Option<HeldItem> {
        let hold = self.hold.as_mut()?;
        let next = hold.waiting.pop_front()?;
        hold.progress_at = now;
        if let HeldItem::Frame(frame, _) = &next {
            hold.frames -= 1;
            hold.bytes -= frame.len();
        } else {
            hold.replayed = hold.replayed.saturating_sub(1); // replayed events are first
        }
        Some(next)
    }

    /// Puts back an item that cannot be sent now.
    pub(super) fn put_back(&mut self, waiting: HeldItem) {
        let Some(hold) = &mut self.hold else { return };
        if let HeldItem::Frame(frame, _) = &waiting {
            hold.frames += 1;
            hold.bytes += frame.len();
        } else {
            hold.replayed += 1;
        }
        hold.waiting.push_front(waiting);
    }

    /// Records that the authorizer is asked about the first item, and returns the number of the hold.
    pub(super) fn begin_asking(&mut self) -> u64 {
        if let Some(hold) = &mut self.hold {
            hold.is_asking = true;
        }
        self.released
    }

    /// Records that the authorizer has answered, and returns whether the hold with this number lasts.
    pub(super) fn end_asking(&mut self, number: u64) -> bool {
        let hold = self.hold.as_mut().filter(|_| self.released == number);
        hold.map(|hold| hold.is_asking = false).is_some()
    }

    /// Records that the connection is paused, so that its client is notified later.
    pub(super) fn interrupt(&mut self) {
        self.mark_incomplete();
        self.is_interrupted = true;
    }

    pub(super) fn take_interruption(&mut self) -> bool {
        mem::take(&mut self.is_interrupted)
    }

    /// Records that an event was lost, so that no resumed subscription is complete any more.
    pub(super) fn mark_incomplete(&mut self) {
        self.complete.clear();
    }

    /// Ends the hold, and drops the waiting items.
    pub(super) fn release(&mut self) {
        self.released += u64::from(self.hold.is_some());
        drop(mem::take(&mut self.hold));
    }
}

/// Returns those of `named` that were resumed before, with their cursors: the events behind these were shown. A rewind shows them
/// again.
fn again(
    complete: &[(Subscription, Cursor)],
    since: Since,
    named: &[Subscription],
) -> Vec<(Subscription, Option<Cursor>)> {
    if !matches!(since, Since::Cursor(_)) {
        return Vec::new();
    }
    with_cursors(complete, named.to_vec())
        .filter(|(_, from)| from.is_some())
        .collect()
}

/// Returns each of `subscriptions` with the cursor from which it is `complete`, if it was resumed.
fn with_cursors(
    complete: &[(Subscription, Cursor)],
    subscriptions: Vec<Subscription>,
) -> impl Iterator<Item = (Subscription, Option<Cursor>)> {
    let complete_from = |wanted: &Subscription| {
        let mut complete = complete.iter();
        complete.find_map(|(own, from)| (own == wanted).then_some(*from))
    };
    subscriptions
        .into_iter()
        .map(move |wanted| (wanted.clone(), complete_from(&wanted)))
}

/// Returns the cursor from which a connection has all events, after a replay by a journal at `present` whose first event is at
/// `first`.
fn cursor_after(
    since: Since,
    (present, unrecovered): (Option<Cursor>, Option<Unrecovered>),
    first: Option<Position>,
) -> Option<Cursor> {
    match (since, unrecovered, first) {
        (Since::Cursor(cursor), None, _) => Some(cursor),
        (Since::Newest(_) | Since::Within(_), None, Some(first)) => Some(Cursor {
            epoch: first.epoch,
            number: first.number - 1,
        }),
        _ => present,
    }
}

/// Returns the earlier of two cursors of one journal; for two journals, the first argument.
fn earlier(one: Cursor, other: Cursor) -> Cursor {
    if one.epoch == other.epoch && other.number < one.number {
        other
    } else {
        one
    }
}
