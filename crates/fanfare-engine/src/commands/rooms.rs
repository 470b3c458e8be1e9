//! Enters and leaves rooms by the broker, which counts the members of all nodes.
//!
//! The broker's reply arrives through the shard's queue, in the order of deliveries. Then, in one turn, the connection enters the
//! index and its conversation is answered: it receives all later events and no earlier ones.

use std::{mem, rc::Rc};

use fanfare_core::{Channel, Denial, Entered, Entry, Member, Outcome, Resume, Subscription, history::Since};

use super::{
    Answer, CommandState, after, denied,
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

pub(super) fn join(
    turn: &mut Turn<'_>,
    room: Channel,
    wants_members: bool,
    resume: Option<Since>,
) -> CommandState {
    let wanted = Subscription::Channel(room.clone());
    let subscriber = &turn.connection().subscriber;
    let request = if subscriber.is_member(&wanted) {
        Request::Held
    } else if let Some(identity) = subscriber.valid_identity().cloned() {
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

/// Asks the broker to enter the room. A member of the room is answered at once, unless it wants the list of members.
fn enter(
    turn: &mut Turn<'_>,
    room: Channel,
    grant: Option<Grant>,
    (wants_members, resume): (bool, Option<Since>),
) -> CommandState {
    let shard = turn.shard;
    let connection = &mut turn.driver.connection;
    let Some(identity) = &connection.subscriber.identity else {
        return CommandState::Answered(Ok(Outcome::Joined { members: None }));
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
    connection.begin_command();
    shard.node.broker().enter(Entry {
        room,
        member,
        ticket: shard.entries.borrow_mut().add(shard.number, pending),
        wants_members,
    });
    CommandState::AwaitsReport
}

/// Answers that the connection is in the room, and resumes the room if requested.
fn joined(
    turn: &mut Turn<'_>,
    room: Channel,
    members: Option<Vec<Member>>,
    resume: Option<Since>,
) -> CommandState {
    let answer = Ok(Outcome::Joined { members });
    let Some(since) = resume else {
        return CommandState::Answered(answer);
    };
    let (of_all, named) = (false, vec![Subscription::Channel(room)]);
    resume::read(turn, Resume { since, of_all }, named, answer)
}

/// Completes the entry `pending` that the broker has reported, and continues the join; returns `None` if the connection has
/// ended. Sets `is_surplus` to false if the connection became a member that the room must count.
pub(crate) fn entered(
    turn: &mut Turn<'_>,
    pending: &mut PendingEntry,
    entered: Entered,
    is_surplus: &mut bool,
) -> Option<CommandState> {
    let moment = turn.moment;
    let connection = turn.connection();
    connection.end_command(moment);
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

/// Removes the connection from the index and from its rooms. It does not wait for the client to hang up, because a client that
/// has vanished never does.
pub(crate) fn deregister(shard: &Rc<Shard>, key: Key, connection: &mut Connection, moment: Moment) {
    if mem::replace(&mut connection.subscriber.is_deregistered, true) {
        return;
    }
    shard.publisher.publish_gathered(); // its last messages precede the announcement of its leave
    let rooms = shard.directory.remove_all(key, connection);
    shard.directory.release_user(connection);
    connection.admission.release();
    leave_all(shard, connection, rooms, moment);
}

/// Leaves each of `rooms`: now, or after the grace if the client was lost.
fn leave_all(shard: &Shard, connection: &Connection, rooms: Vec<Channel>, moment: Moment) {
    let Some(identity) = &connection.subscriber.identity else {
        return;
    };
    let grace = connection.mounted().dialect.leave_grace();
    let stays = connection.is_lost && !grace.is_zero() && !shard.node.is_draining();
    let until = moment.ms.saturating_add(millis(grace));
    for room in rooms {
        // One absence of the user keeps the membership; the room need not count another.
        if stays && !shard.absentees.borrow_mut().keep(&room, &identity.user, until) {
            continue;
        }
        shard.node.broker().leave(room, identity.user.clone());
    }
}
