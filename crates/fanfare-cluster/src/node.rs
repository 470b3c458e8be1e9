//! What every part of the broker uses: the node that it is for, the connection that publishes, and the queues.

use std::sync::Arc;

use fanfare_core::Inbound;

use crate::{
    deliveries::Deliveries,
    link::Link,
    outbox::Outbox,
    status::Status,
    transport::{Subject, Transport},
};

/// See the module's documentation.
pub(crate) struct Node {
    /// Its name.
    pub(crate) id: Box<str>,
    pub(crate) inbound: Arc<dyn Inbound>,
    pub(crate) transport: Arc<dyn Transport>,
    pub(crate) status: Arc<Status>,
    pub(crate) link: Arc<Link>,
    pub(crate) outbox: Outbox,
    pub(crate) deliveries: Deliveries,
}

impl Node {
    /// The subject of messages to this node alone.
    pub(crate) fn own_subject(&self) -> Subject {
        Subject::Node(self.id.clone())
    }
}
