//! The publishing connection. A task opens it, checks it, and opens it again when it is lost.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use tokio::sync::{Semaphore, watch};

use crate::{
    ANSWER_TIMEOUT,
    backoff::Backoff,
    status::{Side, Status},
    transport::{Batch, Message, PublishError, Published, Sender, Subject, Transport},
};

/// The time between two checks of a connection.
pub(crate) const CHECK_INTERVAL: Duration = Duration::from_secs(1);
/// The limit of large messages in flight, in KiB, because events wait behind them. A message above it is sent when no other is in flight.
const BULK_KIB: u32 = 1024;

/// The publishing connection, while it is open.
pub(crate) struct Link {
    current: watch::Sender<Option<Arc<dyn Sender>>>,
    /// The number of lost connections.
    lost: AtomicU64,
    bulk: Semaphore,
}

impl Default for Link {
    fn default() -> Self {
        Self {
            current: watch::Sender::default(),
            lost: AtomicU64::new(0),
            bulk: Semaphore::new(BULK_KIB as usize),
        }
    }
}

impl Link {
    /// Returns the connection, if it is open.
    pub(crate) fn current(&self) -> Option<Arc<dyn Sender>> {
        self.current.borrow().clone()
    }

    /// Returns the number of lost connections.
    pub(crate) fn lost(&self) -> u64 {
        self.lost.load(Ordering::Relaxed)
    }

    /// Returns a receiver that is notified when a connection is opened or lost.
    pub(crate) fn changes(&self) -> watch::Receiver<Option<Arc<dyn Sender>>> {
        self.current.subscribe()
    }

    /// Publishes `messages` in order. Returns one result for each.
    pub(crate) async fn publish(&self, messages: &[Message]) -> Vec<Published> {
        self.publish_and_count(messages, &[]).await.0
    }

    /// As [`Self::publish`]. Also counts the subscribers of each of `counted`.
    pub(crate) async fn publish_and_count(&self, messages: &[Message], counted: &[Subject]) -> Batch {
        let Some(sender) = self.current() else {
            return (vec![Err(PublishError::Lost); messages.len()], Ok(Vec::new()));
        };
        let (published, counts) = sender.publish(messages, counted).await;
        if published.contains(&Err(PublishError::Lost)) {
            self.failed(&sender);
        }
        (published, counts)
    }

    /// Publishes one message that may be large, within the limit of large messages in flight.
    pub(crate) async fn publish_large(&self, message: Message) -> Published {
        let kib = u32::try_from(message.payload.len() / 1024 + 1).unwrap_or(BULK_KIB);
        let _turn = self.bulk.acquire_many(kib.min(BULK_KIB)).await;
        let published = self.publish(&[message]).await;
        published.into_iter().next().unwrap_or(Err(PublishError::Lost))
    }

    /// Closes `sender`, which has lost its connection.
    pub(crate) fn failed(&self, sender: &Arc<dyn Sender>) {
        // A late failure of an old connection must not close the present one.
        self.current.send_if_modified(|current| {
            let is_it = current
                .as_ref()
                .is_some_and(|current| Arc::ptr_eq(current, sender));
            if is_it {
                *current = None;
                self.lost.fetch_add(1, Ordering::Relaxed);
            }
            is_it
        });
    }
}

/// Opens the publishing connection to `transport`, and opens it again whenever it is lost.
pub(crate) async fn run(link: Arc<Link>, transport: Arc<dyn Transport>, status: Arc<Status>) {
    let mut backoff = Backoff::default();
    loop {
        let attempt = tokio::time::timeout(ANSWER_TIMEOUT, transport.open_sender());
        let error = match attempt.await {
            Ok(Ok(sender)) => {
                backoff.reset();
                let sender: Arc<dyn Sender> = sender.into();
                link.current.send_replace(Some(Arc::clone(&sender)));
                status.up(Side::Publishing);
                let mut changes = link.changes();
                let lost = async { changes.wait_for(Option::is_none).await.is_ok() };
                let error = tokio::select! {
                    error = watch(&*sender) => error,
                    _ = lost => "a publication failed".to_owned(),
                };
                link.failed(&sender);
                error
            }
            Ok(Err(error)) => error,
            Err(_) => "timed out".to_owned(),
        };
        status.down(Side::Publishing, error);
        backoff.wait().await;
    }
}

/// Checks the connection periodically. Returns the reason why it is lost.
async fn watch(sender: &dyn Sender) -> String {
    loop {
        tokio::time::sleep(CHECK_INTERVAL).await;
        match tokio::time::timeout(ANSWER_TIMEOUT, sender.check()).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => return error,
            Err(_) => return "timed out".to_owned(),
        }
    }
}
