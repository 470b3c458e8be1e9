//! Asks all nodes a question. This node answers directly, so its own answer does not depend on the transport.

use bytes::Bytes;
use fanfare_core::{MAX_MESSAGE_BYTES, NodeAnswers, QUESTION_TIMEOUT};

use crate::{
    local, messages::NodeMessage, peers::Kind, requests::Replies, shared::Shared, transport::Subject,
};

/// Asks every node `question`.
pub(crate) async fn ask(shared: &Shared, question: Bytes) -> NodeAnswers {
    let own = local::answer(&*shared.node.inbound, question.clone());
    let (own, others) = tokio::join!(own, ask_others(shared, &question));
    NodeAnswers {
        complete: others.complete && own.is_some(),
        answers: own.into_iter().chain(others.answers).collect(),
    }
}

async fn ask_others(shared: &Shared, question: &[u8]) -> Replies {
    if question.len() > MAX_MESSAGE_BYTES {
        return Replies::default();
    }
    let request = shared.requests.begin(Kind::Question);
    // After the request is open, so that the loss of the connection after this check ends the wait.
    if !shared.receipts.with_interests(|wanted| wanted.receiving) {
        return Replies::default();
    }
    let ask = NodeMessage::Ask {
        node: shared.node.id.clone(),
        token: request.number,
    };
    let message = ask.to(Subject::Nodes, Some(question));
    let published = tokio::time::timeout(QUESTION_TIMEOUT, shared.node.link.publish_large(message));
    match published.await {
        Ok(Ok(_)) => request.replies().await,
        _ => Replies::default(),
    }
}
