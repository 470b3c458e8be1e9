//! Calls of this node's [`Inbound`]. A panic there must not end a broker's task, which serves all connections.

use std::panic::{AssertUnwindSafe, catch_unwind};

use bytes::Bytes;
use fanfare_core::{
    Channel, Entered, EntryTicket, Event, Gap, Inbound, MAX_MESSAGE_BYTES, Member, Presence, QUESTION_TIMEOUT,
};
use futures_util::FutureExt;

/// Returns this node's answer to `question`; `None` if it panics, takes too long or is too large.
pub(crate) async fn answer(inbound: &dyn Inbound, question: Bytes) -> Option<Bytes> {
    let answer = AssertUnwindSafe(async { inbound.answer(question).await }).catch_unwind();
    let reason = match tokio::time::timeout(QUESTION_TIMEOUT, answer).await {
        Ok(Ok(answer)) if answer.len() <= MAX_MESSAGE_BYTES => return Some(answer),
        Ok(Ok(_)) => "too large",
        Ok(Err(_)) => "panicked",
        Err(_) => "too late",
    };
    tracing::warn!(
        reason,
        "this node's answer to a question between nodes is missing"
    );
    None
}

/// Delivers a notice to this node.
pub(crate) fn notify(inbound: &dyn Inbound, notice: Bytes) {
    guarded("handling a notice between nodes", || inbound.on_notice(notice));
}

/// Reports to this node that a connection has entered its room.
pub(crate) fn entered(inbound: &dyn Inbound, ticket: EntryTicket, entered: Entered) {
    guarded("handling an entry into a room", || {
        inbound.entered(ticket, entered);
    });
}

/// Reports to this node that events for its connections were lost.
pub(crate) fn missed(inbound: &dyn Inbound, gap: Gap) {
    guarded("handling a gap", || inbound.on_gap(gap));
}

/// Returns the event that announces a change of `member` in `room`, if there is one.
pub(crate) fn announcement(
    inbound: &dyn Inbound,
    change: Presence,
    room: &Channel,
    member: &Member,
) -> Option<Event> {
    guarded("announcing a member of a room", || {
        inbound.announcement(change, room, member)
    })
    .flatten()
}

/// Makes `call`. Returns `None` and logs it if it panics.
fn guarded<T>(what: &str, call: impl FnOnce() -> T) -> Option<T> {
    let done = catch_unwind(AssertUnwindSafe(call));
    done.inspect_err(|_| tracing::error!("{what} panicked")).ok()
}
