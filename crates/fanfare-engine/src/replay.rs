//! Sends a connection the events that it missed, then those that were held back, within the limits of its queue.

use fanfare_core::{
    Audience, Event, Subscription,
    policy::{OpenQuestions, Permission, Readers},
};
use std::sync::Arc;

use super::{
    Node, Prepared,
    connection::{Connection, HeldItem},
    counters::add,
    turn::{self, Turn},
    work,
};

/// The work for a replayed event besides its bytes, because it is judged, rendered and framed.
const EVENT: u64 = 2_000;

/// Sends waiting items, in order; returns `false` if none could be sent. After the last, the hold ends.
pub(super) fn advance(turn: &mut Turn<'_>) -> bool {
    let mut is_first = true;
    while turn.totals.work < work::TURN && turn.connection().is_replaying() {
        if turn.driver.is_congested() || !send_next(turn) {
            break;
        }
        is_first = false;
    }
    if !is_first {
        turn.driver.flush_or_wake();
    }
    if !turn.connection().is_holding() {
        turn.driver.wake(); // its task may read again
    }
    !is_first
}

/// Sends the next item; returns `false` if there is no room.
fn send_next(turn: &mut Turn<'_>) -> bool {
    let moment = turn.moment;
    let Some(next) = turn.driver.connection.next_waiting(moment.ms) else {
        return true; // no item waits any more
    };
    turn.totals.work += EVENT;
    match next {
        HeldItem::Frame(frame, of) => {
            if !has_room(turn, frame.len()) {
                turn.driver
                    .connection
                    .put_back_waiting(HeldItem::Frame(frame, of));
                return false;
            }
            turn.driver.queue(frame, moment); // counted when it was held back
        }
        HeldItem::Allowed(event) => return send(turn, event),
        HeldItem::Event(event) => match judge(&turn.driver.connection, &turn.shard.node, &event) {
            Permission::Allowed => return send(turn, event),
            Permission::Denied => {}
            Permission::Pending(mut open) => match turn.shard.node.access.remembered(&mut open) {
                Some(answer) if answer.is_allowed() => return send(turn, event),
                Some(_) => {}
                None => ask(turn, event, open),
            },
        },
    }
    true
}

/// Asks the authorizer about an event. All later items wait meanwhile.
fn ask(turn: &mut Turn<'_>, event: Arc<Event>, open: OpenQuestions) {
    let hold = turn.connection().begin_asking();
    let (shard, key) = (turn.shard.clone(), turn.key);
    let answer = shard.node.access.ask(open);
    tokio::task::spawn_local(async move {
        let is_allowed = answer.await.is_allowed();
        turn::run(&shard, key, |turn| {
            let connection = turn.connection();
            if !connection.end_asking(hold) {
                return; // a pause has dropped the waiting items
            }
            if is_allowed {
                connection.put_back_waiting(HeldItem::Allowed(event));
            }
            turn.driver.wake();
        });
    });
}

fn send(turn: &mut Turn<'_>, event: Arc<Event>) -> bool {
    let prepared = Prepared::new(Event::clone(&event), turn.shard.node.dialects.len());
    let variant = turn.driver.connection.variant();
    let Some(frame) = prepared.frame(variant, &mut turn.codec.deflater) else {
        return true;
    };
    if !has_room(turn, frame.len()) {
        turn.driver.connection.put_back_waiting(HeldItem::Allowed(event));
        return false;
    }
    turn.totals.work += frame.len() as u64;
    let sent = turn.driver.queue(frame.into_owned(), turn.moment);
    add(&turn.shard.node.counters.replayed, sent.queued);
    turn.driver.connection.mounted().counters.count(sent);
    true
}

/// Returns whether a frame fits into the connection's queue, after an attempt to write the queue.
fn has_room(turn: &mut Turn<'_>, bytes: usize) -> bool {
    if !turn.connection().has_room(bytes) {
        turn.driver.flush_or_wake();
    }
    turn.connection().has_room(bytes) || !turn.connection().is_open()
}

/// Judges whether the connection may see a replayed event, by the current rules and subscriptions.
pub(super) fn judge(connection: &Connection, node: &Node, event: &Event) -> Permission {
    let subscriber = &connection.subscriber;
    if event.except == Some(connection.id) {
        return Permission::Denied;
    }
    let own = subscriber.identity.as_deref();
    let is_shown = match &event.audience {
        Audience::Everyone => subscriber.receives_everyone,
        Audience::User(user) => subscriber.receives_user && own.is_some_and(|own| own.user == *user),
        Audience::Channel(channel) => {
            let is_exact = subscriber.is_subscribed(&Subscription::Channel(channel.clone()));
            if is_exact && event.private_to.is_none() {
                return Permission::Allowed; // it was judged when it subscribed
            }
            if !is_exact && !subscriber.is_shown(channel) {
                return Permission::Denied;
            }
            let readers = if is_exact {
                Readers::Everyone
            } else {
                node.access.readers(channel)
            };
            return node
                .access
                .may_receive(subscriber.reader(channel), event, channel, readers);
        }
    };
    match node.access.may_see(own, event) {
        Permission::Allowed if is_shown => Permission::Allowed,
        // Only events on channels wait for the authorizer.
        Permission::Allowed | Permission::Denied | Permission::Pending(_) => Permission::Denied,
    }
}
