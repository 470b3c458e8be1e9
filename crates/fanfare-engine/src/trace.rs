//! Delivers a traced event as any other, and records the outcome at each connection.

use std::{borrow::Cow, rc::Rc, sync::Arc, time::Duration};

use ahash::AHashSet;
use bytes::Bytes;
use fanfare_core::{
    Audience, Ending, Event, Reach,
    policy::{Action, Permission},
};
use fanfare_ws::Deflater;
use uuid::Uuid;

use super::{
    Prepared, Shard,
    acknowledged::SocketStates,
    clock::Moment,
    connection::Connection,
    connections::{Key, Receivers},
    driver::Driver,
    observe::{ConnectionTrace, Fate, Followed, TraceRule, Traced},
    write::{count, hold_back},
};

/// The connections that are visited between two pauses.
const STEP: usize = 256;
/// The sockets that are examined between two pauses, with four system calls each.
const SOCKETS: usize = 64;
/// The pauses before each examination of the sockets, in milliseconds: about ten seconds in all.
const PAUSES_MS: [u64; 9] = [10, 20, 50, 100, 300, 500, 1000, 3000, 5000];
/// Each later pause, for frames that still wait.
const LATE_PAUSE_MS: u64 = 5000;

/// A frame that the peer has not acknowledged completely.
struct Pending {
    key: Key,
    connection: Uuid,
    frame: Bytes,
    is_written: bool,
    /// The number of acknowledged bytes at which the frame is complete, once it is known.
    acknowledged_at: Option<u64>,
}

impl Pending {
    fn new(key: Key, driver: &Driver, frame: Bytes) -> Self {
        Self {
            key,
            connection: driver.connection.id,
            is_written: !driver.holds(&frame),
            frame,
            acknowledged_at: None,
        }
    }

    fn fate(&self) -> Fate {
        if self.is_written {
            Fate::Written
        } else {
            Fate::Queued
        }
    }
}

impl Shard {
    /// Delivers `event` and records its outcome at each connection for which `traced` has room. Other connections receive it like an
    /// event that is not traced, so a crowd costs no more than usual.
    pub(super) async fn trace(self: &Rc<Self>, event: &Prepared, traced: &Arc<Traced>, reach: &mut Reach) {
        let candidates = self.candidates(&event.event);
        let receivers = self.receivers(&[event]);
        // Without a pause before: an answer of the authorizer in it would change the records.
        self.record_withheld(candidates, &receivers, event, traced);
        let (recorded, others): (Receivers, Receivers) =
            receivers.into_iter().partition(|key| self.has_room(*key, traced));
        traced.count_unrecorded(others.len() as u64, 0);
        let mut pending = Vec::new();
        for some in recorded.chunks(STEP) {
            self.send_traced(some, event, (traced, reach), &mut pending);
            tokio::task::yield_now().await;
        }
        self.write_to(&others, &[event], std::slice::from_mut(reach), &mut 0)
            .await;
        self.record_others(traced).await;
        traced.finished(*reach);
        if !pending.is_empty() {
            let followed = traced.followed(pending.len());
            tokio::task::spawn_local(self.clone().follow(followed, pending));
        }
    }

    /// Reserves room for the record of a connection; returns whether there was any.
    fn has_room(&self, key: Key, traced: &Traced) -> bool {
        let mut connections = self.connections.borrow_mut();
        let user = connections
            .at(key)
            .and_then(|driver| driver.connection.subscriber.identity.as_ref());
        traced.has_room(user.map(|identity| &*identity.user))
    }

    /// Returns the connections whose subscriptions cover `event`, including those that may not receive it.
    fn candidates(&self, event: &Event) -> Receivers {
        let index = self.directory.index();
        match &event.audience {
            Audience::User(user) => index.user(user).into(),
            Audience::Channel(channel) => {
                let mut all: Receivers = index.channel_members(channel).into();
                index.pattern_members(channel, &mut all);
                all
            }
            Audience::Everyone => self.all_for_everyone(),
        }
    }

    /// Sends the event to `receivers` and records it.
    fn send_traced(
        &self,
        receivers: &[Key],
        event: &Prepared,
        (traced, reach): (&Traced, &mut Reach),
        pending: &mut Vec<Pending>,
    ) {
        let mut connections = self.connections.borrow_mut();
        let mut tools = self.tools.borrow_mut();
        let moment = self.node.now();
        for key in receivers {
            let deflater = &mut tools.codec.deflater;
            let Some(driver) = connections.receiver_at(*key) else {
                if let Some(driver) = connections.later_receiver_at(*key) {
                    let held = hold_back_traced(*key, driver, event, (traced, &mut *reach), moment, deflater);
                    pending.extend(held);
                } else if let Some(driver) = connections.at(*key) {
                    let fate = closed(&driver.connection).unwrap_or(Fate::Closing);
                    traced.record(ConnectionTrace {
                        fate,
                        ..record(&driver.connection)
                    });
                }
                continue;
            };
            let mut record = record(&driver.connection);
            let variant = driver.connection.variant();
            let cursors = variant.cursors;
            let Some(frame) = event.frame(variant, deflater).map(Cow::into_owned) else {
                traced.record(record); // unrendered
                continue;
            };
            if cursors && driver.connection.is_repeat(&event.event) {
                record.fate = Fate::Written; // by a replay of the history
                traced.record(record);
                continue;
            }
            (record.frames_ahead, record.bytes_ahead) = driver.connection.waiting();
            record.frame_bytes = frame.len();
            let sent = driver.queue(frame.clone(), moment);
            count(driver, sent, reach);
            if sent.queued == 0 {
                record.fate = Fate::QueueFull;
                traced.record(record);
                continue;
            }
            record.queued_us = Some(traced.elapsed_us());
            driver.flush_or_wake();
            let sent = Pending::new(*key, driver, frame);
            record.fate = sent.fate();
            record.written_us = sent.is_written.then(|| traced.elapsed_us());
            traced.record(record);
            pending.push(sent);
        }
    }

    /// Records why the `candidates` that are not receivers do not receive the event.
    fn record_withheld(
        &self,
        candidates: Receivers,
        receivers: &Receivers,
        event: &Prepared,
        traced: &Traced,
    ) {
        // Each receiver is a candidate, so with equal numbers nothing was withheld.
        if candidates.len() == receivers.len() {
            return;
        }
        let receivers: AHashSet<Key> = receivers.iter().copied().collect();
        let mut left_out = 0;
        for key in candidates.into_iter().filter(|key| !receivers.contains(key)) {
            if !self.has_room(key, traced) {
                left_out += 1;
            } else if let Some(driver) = self.connections.borrow_mut().at(key) {
                traced.record(self.withheld(&driver.connection, &event.event));
            }
        }
        traced.count_unrecorded(left_out, left_out);
    }

    /// Returns the record of a subscribed connection that does not receive the event.
    fn withheld(&self, own: &Connection, event: &Event) -> ConnectionTrace {
        let record = record(own);
        if let Some(fate) = closed(own) {
            return ConnectionTrace { fate, ..record };
        }
        if event.except == Some(own.id) {
            let fate = Fate::Sender;
            return ConnectionTrace { fate, ..record };
        }
        let access = &self.node.access;
        let (who, permission) = match &event.audience {
            Audience::Channel(channel) => {
                let who = own.subscriber.reader(channel);
                (
                    who,
                    access.may_receive(who, event, channel, access.readers(channel)),
                )
            }
            Audience::User(_) | Audience::Everyone => {
                let who = own.subscriber.identity.as_deref();
                (who, access.may_see(who, event))
            }
        };
        let explained = access.explain(who, Action::Subscribe, &event.audience);
        let by_rule = explained.filter(|explained| explained.permission != Permission::Allowed);
        let fate = match permission {
            Permission::Pending(mut open) => match access.remembered(&mut open) {
                Some(answer) if !answer.is_allowed() => Fate::Unauthorized,
                _ => Fate::Undecided,
            },
            Permission::Denied if by_rule.is_none() => Fate::Private,
            // A reload has allowed it since the receivers were found.
            Permission::Denied | Permission::Allowed => Fate::Refused,
        };
        let by_rule = by_rule.filter(|_| fate != Fate::Private);
        ConnectionTrace {
            fate,
            reason: by_rule.as_ref().map(|explained| explained.reason.as_str().into()),
            rule: by_rule.and_then(|explained| explained.rule).map(TraceRule::from),
            ..record
        }
    }

    /// Records the other connections of the focused user.
    async fn record_others(&self, traced: &Traced) {
        let Some(user) = traced.focus() else { return };
        self.visit(|_, own| {
            let who = own.subscriber.identity.as_ref();
            let is_of_user = who.is_some_and(|who| *who.user == *user);
            if is_of_user && !traced.has_record(own.id) && traced.has_room(Some(user)) {
                let fate = closed(own).unwrap_or(Fate::Unsubscribed);
                traced.record(ConnectionTrace { fate, ..record(own) });
            }
        })
        .await;
    }

    /// Records that an event that waited for the authorizer was sent as `frame`; `None` if the queue was full.
    pub(super) fn record_late(self: &Rc<Self>, key: Key, driver: &Driver, event: Uuid, frame: Option<Bytes>) {
        let Some(traced) = self.node.observers.traces.find(event) else {
            return;
        };
        let (connection, now) = (driver.connection.id, traced.elapsed_us());
        let Some(frame) = frame else {
            return traced.update(connection, |known| known.fate = Fate::QueueFull);
        };
        let pending = Pending::new(key, driver, frame);
        traced.update(connection, |known| {
            known.fate = pending.fate();
            known.queued_us = Some(now);
            known.written_us = pending.is_written.then_some(now);
        });
        let followed = traced.followed(1);
        tokio::task::spawn_local(self.clone().follow(followed, vec![pending]));
    }

    /// Records that the authorizer has refused `events` to a connection.
    pub(super) fn record_refused(&self, key: Key, events: &[Event]) {
        let mut connections = self.connections.borrow_mut();
        let Some(driver) = connections.at(key) else { return };
        for event in events {
            if let Some(traced) = self.node.observers.traces.find(event.id) {
                traced.update(driver.connection.id, |known| known.fate = Fate::Unauthorized);
            }
        }
    }

    /// Examines the sockets periodically, as long as the trace is kept: the bytes that are written and acknowledged.
    async fn follow(self: Rc<Self>, mut followed: Followed, mut pending: Vec<Pending>) {
        let system = SocketStates::open();
        for number in 0.. {
            let pause = PAUSES_MS.get(number).copied();
            tokio::time::sleep(Duration::from_millis(pause.unwrap_or(LATE_PAUSE_MS))).await;
            let mut open = Vec::with_capacity(pending.len());
            while !pending.is_empty() {
                let Some(traced) = followed.traced() else { return };
                let some = pending.split_off(pending.len().saturating_sub(SOCKETS));
                self.examine(some, &traced, system.as_ref(), &mut open);
                tokio::task::yield_now().await;
            }
            pending = open;
            if number + 1 >= PAUSES_MS.len() {
                pending.retain(|one| !one.is_written);
            }
            followed.set_connections(pending.len());
            if pending.is_empty() {
                return;
            }
        }
    }

    /// Examines `some`, and moves the incomplete ones to `open`.
    fn examine(
        &self,
        some: Vec<Pending>,
        traced: &Traced,
        system: Option<&SocketStates>,
        open: &mut Vec<Pending>,
    ) {
        let mut connections = self.connections.borrow_mut();
        open.extend(some.into_iter().filter_map(|mut one| {
            let Some(driver) = connections.at(one.key) else {
                if !one.is_written {
                    traced.update(one.connection, |known| known.fate = Fate::Lost);
                }
                return None;
            };
            update(traced, driver, &mut one, system).then_some(one)
        }));
    }
}

/// Holds the event back behind a replay, and returns its frame if it waits.
fn hold_back_traced(
    key: Key,
    driver: &mut Driver,
    event: &Prepared,
    (traced, reach): (&Traced, &mut Reach),
    moment: Moment,
    deflater: &mut Deflater,
) -> Option<Pending> {
    let frame = event
        .frame(driver.connection.variant(), deflater)
        .map(Cow::into_owned);
    let before = *reach;
    hold_back(driver, event, reach, moment, deflater);
    let is_kept = reach.queued > before.queued;
    let fate = match &frame {
        None => Fate::Unrendered,
        Some(_) if is_kept => Fate::Queued,
        Some(_) if reach.dropped > before.dropped => Fate::QueueFull,
        Some(_) => Fate::Written, // by the replay
    };
    traced.record(ConnectionTrace {
        fate,
        frame_bytes: frame.as_ref().map_or(0, Bytes::len),
        queued_us: is_kept.then(|| traced.elapsed_us()),
        ..record(&driver.connection)
    });
    let frame = frame.filter(|_| is_kept)?;
    Some(Pending::new(key, driver, frame))
}

/// Updates the record of `one`; returns whether it may still change.
fn update(traced: &Traced, driver: &Driver, one: &mut Pending, system: Option<&SocketStates>) -> bool {
    let id = driver.connection.id;
    if !one.is_written {
        if driver.holds(&one.frame) {
            return true;
        }
        let (mounted, own) = (driver.connection.mounted(), &driver.connection);
        // The end of a slow consumer drops its waiting frames.
        let was_dropped =
            own.is_gone() || !own.is_open() && own.close_code == mounted.dialect.end(Ending::SlowConsumer).0;
        if was_dropped {
            traced.update(id, |known| known.fate = Fate::Lost);
            return false;
        }
        one.is_written = true;
        let now = traced.elapsed_us();
        traced.update(id, |known| {
            (known.fate, known.written_us) = (Fate::Written, Some(now));
        });
    }
    let Some(state) = system.and_then(|system| driver.acknowledgements(system)) else {
        return false;
    };
    // The first examination also counts later bytes, so the frame is never reported as acknowledged too early.
    let end = *one
        .acknowledged_at
        .get_or_insert(state.acknowledged + state.unacknowledged);
    if state.acknowledged < end {
        return true;
    }
    let now = traced.elapsed_us();
    traced.update(id, |known| {
        (known.fate, known.acknowledged_us) = (Fate::Acknowledged, Some(now));
    });
    false
}

/// Returns the reason why a connection takes no events now; `None` if it takes them.
fn closed(own: &Connection) -> Option<Fate> {
    if !own.is_open() {
        Some(Fate::Closing)
    } else if own.subscriber.is_paused {
        Some(Fate::Expired)
    } else {
        None
    }
}

/// Returns the record of a connection, without the outcome of the event.
fn record(own: &Connection) -> ConnectionTrace {
    let identity = own.subscriber.identity.as_ref();
    ConnectionTrace {
        id: own.id,
        dialect: own.mounted().name.into(),
        user: identity.map(|identity| (*identity.user).into()),
        fate: Fate::Unrendered,
        reason: None,
        rule: None,
        frames_ahead: 0,
        bytes_ahead: 0,
        frame_bytes: 0,
        queued_us: None,
        written_us: None,
        acknowledged_us: None,
    }
}
