//! The commands of conversations. Nothing waits while the connection is borrowed: a command that takes time is a future of its own.

mod adopt;
mod authenticate;
mod grant;
mod publish;
mod resume;
mod rooms;
mod subscribe;

use std::{future::Future, pin::Pin};

use fanfare_core::{Command, Denial, Outcome};

use super::turn::Turn;

pub(super) use self::{
    adopt::adopt,
    resume::report_interruption,
    rooms::{depart, entered},
    subscribe::lapse,
};

pub(super) type Answer = Result<Outcome, Denial>;

pub(super) enum Doing {
    /// It is done, or denied.
    Answered(Answer),
    /// It continues when this is done.
    Waiting(Pin<Box<dyn Future<Output = Next>>>),
    /// The broker has been asked and reports to the shard.
    AwaitsReport,
    /// The connection has another dialect now, whose first message this is.
    Adopted(Box<str>),
    /// The connection was closed instead.
    Closed,
    /// The server sent a message without a command, so nothing is answered.
    Reported,
}

/// The rest of a command, after its wait.
pub(super) type Next = Box<dyn FnOnce(&mut Turn<'_>) -> Doing>;

pub(super) fn begin(turn: &mut Turn<'_>, command: Command) -> Doing {
    if !matches!(command, Command::Publish(_)) {
        turn.shard.publisher.place(); // the client's earlier events
    }
    match command {
        Command::Authenticate(token) => authenticate::authenticate(turn, token),
        Command::Subscribe { to, whole, resume } => subscribe::subscribe(turn, to, (whole, resume)),
        Command::Resume(since) => resume::of_all(turn, since),
        Command::SubscribeBy { channel, credential } => {
            authenticate::identify(turn, credential, move |turn, credential| {
                subscribe::subscribe_by(turn, channel, credential)
            })
        }
        Command::Unsubscribe(from) => Doing::Answered(Ok(subscribe::unsubscribe(turn, &from))),
        Command::Join {
            room,
            wants_members,
            resume,
        } => rooms::join(turn, room, wants_members, resume),
        Command::Leave(room) => Doing::Answered(rooms::leave(turn, &room)),
        Command::Publish(draft) => publish::publish(turn, draft),
        Command::Facts => {
            let mounted = turn.connection().mounted().clone();
            Doing::Answered(Ok(Outcome::Facts(turn.shard.node.dialect_facts(&mounted))))
        }
    }
}

/// Continues with `next` when `work` is done.
fn after<T: 'static>(
    work: impl Future<Output = T> + 'static,
    next: impl FnOnce(&mut Turn<'_>, T) -> Doing + 'static,
) -> Doing {
    Doing::Waiting(Box::pin(async move {
        let done = work.await;
        let next: Next = Box::new(move |turn| next(turn, done));
        next
    }))
}

fn denied(denial: Denial) -> Doing {
    Doing::Answered(Err(denial))
}
