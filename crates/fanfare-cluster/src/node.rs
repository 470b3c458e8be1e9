//! The node that the broker serves, with its publishing connection and its queues: every part of the broker uses them.

use std::sync::Arc;

use fanfare_core::{BoxFuture, Inbound};

use crate::{
    ANSWER_TIMEOUT,
    deliveries::Deliveries,
    link::Link,
    outbox::Outbox,
    status::Status,
    transport::{Failed, Subject, Transport, journal::JournalStore},
};

/// See the module's documentation.
pub(crate) struct Node {
    pub(crate) id: Box<str>,
    pub(crate) inbound: Arc<dyn Inbound>,
    pub(crate) transport: Arc<dyn Transport>,
    pub(crate) status: Arc<Status>,
    pub(crate) link: Arc<Link>,
    pub(crate) outbox: Outbox,
    pub(crate) deliveries: Deliveries,
}

impl Node {
    /// Returns the subject of messages to this node only.
    pub(crate) fn own_subject(&self) -> Subject {
        Subject::Node(self.id.clone())
    }

    /// Calls `ask` with the journal of the publishing connection and `question`.
    pub(crate) async fn ask_journal<Q: Sync + ?Sized, T>(
        &self,
        question: &Q,
        ask: for<'a> fn(&'a dyn JournalStore, &'a Q) -> BoxFuture<'a, Result<T, Failed>>,
    ) -> Result<T, Failed> {
        let sender = self.link.current().ok_or("not connected")?;
        let journal = sender.journal().ok_or("there is no journal")?;
        let answer = tokio::time::timeout(ANSWER_TIMEOUT, ask(journal, question)).await;
        answer.map_err(|_| "timed out")?
    }
}
