//! The connection that publishes: opened, checked, and opened again for ever.

use std::{
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use tokio::sync::{Notify, Semaphore};

use crate::{
    ANSWER_TIMEOUT, Shared,
    backoff::Backoff,
    status::Side,
    transport::{Message, PublishError, Published, Sender, Subject},
};

/// Between two checks of a connection.
pub(crate) const CHECK_INTERVAL: Duration = Duration::from_secs(1);
/// Bytes of large messages on their way at once, in KiB; a larger one goes alone. Events wait behind them.
const BULK_KIB: u32 = 1024;

/// The publishing connection, if there is one now.
pub(crate) struct Link {
    current: Mutex<Option<Arc<dyn Sender>>>,
    lost: Notify,
    bulk: Semaphore,
}

impl Default for Link {
    fn default() -> Self {
        Self {
            current: Mutex::default(),
            lost: Notify::new(),
            bulk: Semaphore::new(BULK_KIB as usize),
        }
    }
}

impl Link {
    /// The connection.
    pub(crate) fn current(&self) -> Option<Arc<dyn Sender>> {
        self.lock().clone()
    }

    /// Publishes `messages` in order. Returns one result for each.
    pub(crate) async fn publish(&self, messages: &[Message]) -> Vec<Published> {
        let Some(sender) = self.current() else {
            return vec![Err(PublishError::Lost); messages.len()];
        };
        let published = sender.publish(messages).await;
        if published.contains(&Err(PublishError::Lost)) {
            self.failed(&sender);
        }
        published
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
        let mut current = self.lock();
        // A failure of an old connection must not end its successor.
        if current
            .as_ref()
            .is_some_and(|current| Arc::ptr_eq(current, sender))
        {
            *current = None;
            self.lost.notify_one();
        }
    }

    fn lock(&self) -> MutexGuard<'_, Option<Arc<dyn Sender>>> {
        self.current.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Keeps the publishing connection up.
pub(crate) async fn run(shared: Arc<Shared>) {
    let mut backoff = Backoff::default();
    loop {
        let attempt = tokio::time::timeout(ANSWER_TIMEOUT, shared.transport.open_sender());
        let error = match attempt.await {
            Ok(Ok(sender)) => {
                backoff.reset();
                let sender: Arc<dyn Sender> = sender.into();
                *shared.link.lock() = Some(Arc::clone(&sender));
                shared.status.up(Side::Publishing);
                shared.presence.linked();
                if shared.peers.receives() {
                    shared.report(Subject::Nodes, true, true);
                }
                let error = tokio::select! {
                    error = watch(&*sender) => error,
                    () = shared.link.lost.notified() => "a publication failed".to_owned(),
                };
                *shared.link.lock() = None;
                error
            }
            Ok(Err(error)) => error,
            Err(_) => "timed out".to_owned(),
        };
        shared.status.down(Side::Publishing, error);
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
