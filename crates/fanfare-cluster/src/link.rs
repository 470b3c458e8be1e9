//! The connection that publishes: opened, checked, and opened again for ever.

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

/// Between two checks of a connection.
pub(crate) const CHECK_INTERVAL: Duration = Duration::from_secs(1);
/// Bytes of large messages on their way at once, in KiB; a larger one goes alone. Events wait behind them.
const BULK_KIB: u32 = 1024;

/// The publishing connection, if there is one now.
pub(crate) struct Link {
    current: watch::Sender<Option<Arc<dyn Sender>>>,
    /// How many were lost.
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
    /// The connection.
    pub(crate) fn current(&self) -> Option<Arc<dyn Sender>> {
        self.current.borrow().clone()
    }

    /// How many connections were lost.
    pub(crate) fn lost(&self) -> u64 {
        self.lost.load(Ordering::Relaxed)
    }

    /// Shows when a connection is opened or lost.
    pub(crate) fn changes(&self) -> watch::Receiver<Option<Arc<dyn Sender>>> {
        self.current.subscribe()
    }

    /// Publishes `messages` in order. Returns one result for each.
    pub(crate) async fn publish(&self, messages: &[Message]) -> Vec<Published> {
        self.publish_and_count(messages, &[]).await.0
    }

    /// The same, and counts who is subscribed to each of `counted`.
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

    /// Publishes one message that may be large.
    pub(crate) async fn publish_large(&self, message: Message) -> Published {
        let kib = u32::try_from(message.payload.len() / 1024 + 1).unwrap_or(BULK_KIB);
        let _turn = self.bulk.acquire_many(kib.min(BULK_KIB)).await;
        let published = self.publish(&[message]).await;
        published.into_iter().next().unwrap_or(Err(PublishError::Lost))
    }

    /// `sender` lost its connection.
    pub(crate) fn failed(&self, sender: &Arc<dyn Sender>) {
        // A failure of an old connection must not end its successor.
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

/// Keeps the publishing connection to `transport` up.
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

/// Checks again and again; returns why the connection is lost.
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
