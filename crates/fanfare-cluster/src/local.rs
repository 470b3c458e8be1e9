//! Calls into this node. A panic there must not end a broker's task, which serves all connections.

use std::panic::{AssertUnwindSafe, catch_unwind};

use bytes::Bytes;
use fanfare_core::{
    ANSWER_PATIENCE, Channel, Entered, EntryTicket, Event, Gap, Inbound, MAX_MESSAGE_BYTES, Member, Presence,
};
use futures_util::FutureExt;

/// This node's answer, unless it panics, takes too long or is too large.
pub(crate) async fn answer(inbound: &dyn Inbound, question: Bytes) -> Option<Bytes> {
    let answer = AssertUnwindSafe(async { inbound.answer(question).await }).catch_unwind();
    let reason = match tokio::time::timeout(ANSWER_PATIENCE, answer).await {
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
    if catch_unwind(AssertUnwindSafe(|| inbound.on_notice(notice))).is_err() {
        tracing::error!("handling a notice between nodes panicked");
    }
}

/// Reports to this node that a connection has entered its room.
pub(crate) fn entered(inbound: &dyn Inbound, ticket: EntryTicket, entered: Entered) {
    if catch_unwind(AssertUnwindSafe(|| inbound.entered(ticket, entered))).is_err() {
        tracing::error!("handling an entry into a room panicked");
    }
}

/// Reports to this node that events for its connections are lost.
pub(crate) fn missed(inbound: &dyn Inbound, gap: Gap) {
    if catch_unwind(AssertUnwindSafe(|| inbound.on_gap(gap))).is_err() {
        tracing::error!("handling a gap panicked");
    }
}

/// What is published in `room` about `member`; nothing if that panics.
pub(crate) fn announcement(
    inbound: &dyn Inbound,
    change: Presence,
    room: &Channel,
    member: &Member,
) -> Option<Event> {
    let announced = catch_unwind(AssertUnwindSafe(|| inbound.announcement(change, room, member)));
    announced.unwrap_or_else(|_| {
        tracing::error!("announcing a member of a room panicked");
        None
    })
}
