//! Calls into this node. A panic there must not end a broker's task, which serves all connections.

use std::panic::{AssertUnwindSafe, catch_unwind};

use bytes::Bytes;
use fanfare_core::{ANSWER_PATIENCE, Inbound, MAX_MESSAGE_BYTES};
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
