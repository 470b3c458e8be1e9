//! The commands of conversations. A command that must wait returns a future, because no code may wait while it borrows the
//! connection.

mod authenticate;
mod grant;
mod publish;
mod resume;
mod rooms;
mod subscribe;
mod switch;

use std::{future::Future, pin::Pin};

use fanfare_core::{Command, Denial, Outcome};

use super::turn::Turn;

pub(super) use self::{
    resume::report_interruption,
    rooms::{deregister, entered},
    subscribe::lapse,
    switch::switch_dialect,
};

pub(super) type Answer = Result<Outcome, Denial>;

/// The state of a command that runs.
pub(super) enum CommandState {
    /// It is done or denied.
    Answered(Answer),
    /// It continues with the result of this future.
    Waiting(Pin<Box<dyn Future<Output = Continuation>>>),
    /// The broker was asked, and will report to the shard.
    AwaitsReport,
    /// The connection has switched to another dialect, for which this is the first message.
    Switched(Box<str>),
    /// The command closed the connection instead.
    Closed,
    /// The server sent a message without a command, so the conversation gets no answer.
    Reported,
}

/// The rest of a command, after its wait.
pub(super) type Continuation = Box<dyn FnOnce(&mut Turn<'_>) -> CommandState>;

pub(super) fn begin(turn: &mut Turn<'_>, command: Command) -> CommandState {
    if !matches!(command, Command::Publish(_)) {
        turn.shard.publisher.publish_gathered(); // the client's earlier events precede it
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
        Command::Unsubscribe(from) => CommandState::Answered(Ok(subscribe::unsubscribe(turn, &from))),
        Command::Join {
            room,
            wants_members,
            resume,
        } => rooms::join(turn, room, wants_members, resume),
        Command::Leave(room) => CommandState::Answered(rooms::leave(turn, &room)),
        Command::Publish(draft) => publish::publish(turn, draft),
        Command::Facts => {
            let mounted = turn.connection().mounted().clone();
            CommandState::Answered(Ok(Outcome::Facts(turn.shard.node.dialect_facts(&mounted))))
        }
    }
}

/// Continues with `next` when `work` is done.
fn after<T: 'static>(
    work: impl Future<Output = T> + 'static,
    next: impl FnOnce(&mut Turn<'_>, T) -> CommandState + 'static,
) -> CommandState {
    CommandState::Waiting(Box::pin(async move {
        let done = work.await;
        let next: Continuation = Box::new(move |turn| next(turn, done));
        next
    }))
}

fn denied(denial: Denial) -> CommandState {
    CommandState::Answered(Err(denial))
}
