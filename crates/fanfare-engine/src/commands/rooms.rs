//! Enters and leaves rooms by the broker, which counts the members of all nodes.
//!
//! The broker's reply arrives in the order of deliveries, through the shard's own queue. Then, in one turn, the connection enters
//! the index and its conversation is answered: it receives every event that is published later, and none from before.

use std::{mem, rc::Rc};

use fanfare_core::{Channel, Denial, Entered, Entry, Member, Outcome, Resume, Subscription, history::Since};

use super::{
    Answer, Doing, after, denied,
    grant::{self, Asking, Request},
    resume,
};
use crate::{
    Shard,
    clock::{Moment, millis},
    connection::Connection,
    connections::Key,
    directory::Grant,
    entries::PendingEntry,
    turn::Turn,
};

pub(super) fn join(turn: &mut Turn<'_>, room: Channel, wants_members: bool, resume: Option<Since>) -> Doing {
    let wanted = Subscription::Channel(room.clone());
    let subscriber = &turn.connection().subscriber;
    let request = if subscriber.is_member(&wanted) {
        Request::Held
    } else if let Some(identity) = subscriber.proven().cloned() {
        Request::new(wanted, Some(&identity), &turn.shard.node.access)
    } else {
        Request::Denied(Denial::Forbidden)
    };
    let granting = grant::grant(Asking::of(turn), vec![request], true);
    after(granting, move |turn, granted| match granted {
        Err(denial) => denied(denial),
        Ok(granted) => {
            let grant = granted.into_iter().flatten().flatten().next();
            enter(turn, room, grant, (wants_members, resume))
        }
    })
}

/// Asks the broker to enter the room. A connection that is already in it gets its answer at once, unless it wants the list.
fn enter(
    turn: &mut Turn<'_>,
    room: Channel,
    grant: Option<Grant>,
    (wants_members, resume): (bool, Option<Since>),
) -> Doing {
    let shard = turn.shard;
    let connection = &mut turn.driver.connection;
    let Some(identity) = &connection.subscriber.identity else {
        return Doing::Answered(Ok(Outcome::Joined { members: None }));
    };
    if grant.is_none() && !wants_members {
        return joined(turn, room, None, resume);
    }
    let member = Member::new(identity, connection.mounted().name);
    let pending = PendingEntry {
        key: turn.key,
        user: identity.user.clone(),
        room: room.clone(),
        grant,
        resume,
    };
    connection.wait();
    shard.node.broker().enter(Entry {
        room,
        member,
        ticket: shard.entries.borrow_mut().expect(shard.number, pending),
        wants_members,
    });
    Doing::AwaitsReport
}

/// Answers that the connection is in the room, and resumes the room if requested.
fn joined(turn: &mut Turn<'_>, room: Channel, members: Option<Vec<Member>>, resume: Option<Since>) -> Doing {
    let answer = Ok(Outcome::Joined { members });
    let Some(since) = resume else {
        return Doing::Answered(answer);
    };
    let (of_all, named) = (false, vec![Subscription::Channel(room)]);
    resume::read(turn, Resume { since, of_all }, named, answer)
}

/// Completes the entry `pending` that the broker has reported. Returns how the join continues, unless the connection has ended.
/// Sets `is_surplus` to false if the room counts the connection correctly.
pub(crate) fn entered(
    turn: &mut Turn<'_>,
    pending: &mut PendingEntry,
    entered: Entered,
    is_surplus: &mut bool,
) -> Option<Doing> {
    let moment = turn.moment;
    let connection = turn.connection();
    connection.resume(moment);
    let is_open = connection.is_open();
    turn.driver.wake();
    if !is_open {
        return None;
    }
    let connection = &mut turn.driver.connection;
    if let Some(mut grant) = pending.grant.take()
        && !connection.subscriber.is_member(&grant.wanted)
    {
        grant.traits.member = true;
        let directory = &turn.shard.directory;
        directory.subscribe(turn.key, connection, grant);
        directory.refresh(turn.key, connection);
        *is_surplus = false;
    }
    Some(joined(
        turn,
        pending.room.clone(),
        entered.members,
        pending.resume,
    ))
}

pub(super) fn leave(turn: &mut Turn<'_>, room: &Channel) -> Answer {
    let wanted = Subscription::Channel(room.clone());
    let connection = &mut turn.driver.connection;
    if !connection.subscriber.is_member(&wanted) {
        return Err(Denial::NotMember);
    }
    let directory = &turn.shard.directory;
    directory.unsubscribe(turn.key, connection, &wanted);
    directory.refresh(turn.key, connection);
    Ok(Outcome::Left)
}

/// Removes the connection from the index and from its rooms. That does not wait for the client to hang up, because a client that
/// has vanished never does.
pub(crate) fn depart(shard: &Rc<Shard>, key: Key, connection: &mut Connection, moment: Moment) {
    if mem::replace(&mut connection.subscriber.has_departed, true) {
        return;
    }
    shard.publisher.place(); // its last messages precede the announcement that it left
    let rooms = shard.directory.withdraw(key, connection);
    shard.directory.release_user(connection);
    connection.admission.release();
    leave_all(shard, connection, rooms, moment);
}

/// Leaves each of `rooms`, now or, if the client was lost, after the grace.
fn leave_all(shard: &Shard, connection: &Connection, rooms: Vec<Channel>, moment: Moment) {
    let Some(identity) = &connection.subscriber.identity else {
        return;
    };
    let grace = connection.mounted().dialect.leave_grace();
    let stays = connection.is_lost && !grace.is_zero() && !shard.node.is_draining();
    let until = moment.ms.saturating_add(millis(grace));
    for room in rooms {
        // If the user was already noted for the room, that note keeps the membership.
        if stays && !shard.absentees.borrow_mut().note(&room, &identity.user, until) {
            continue;
        }
        shard.node.broker().leave(room, identity.user.clone());
    }
}
