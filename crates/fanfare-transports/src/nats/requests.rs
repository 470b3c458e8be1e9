//! Requests to JetStream, and their replies.

use std::{
    collections::HashMap,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Duration,
};

use fanfare_cluster::{ANSWER_TIMEOUT, transport::Stored};
use fanfare_core::locked;
use futures_util::future::join_all;
use tokio::{
    sync::{Semaphore, oneshot},
    time::{Instant, timeout_at},
};
use uuid::Uuid;

use super::{
    exchange::{Exchange, Refusals},
    protocol::{Publish, ServerMessage},
};

/// The most requests without a reply, except those that a publication carries.
const MAX_OPEN: usize = 1024;
/// The most requests that are sent at once: events travel between two batches.
const BATCH: usize = 512;
/// The time to wait for JetStream after it did not reply: callers must not wait the full time repeatedly.
const SHORT_PATIENCE: Duration = ANSWER_TIMEOUT.checked_div(4).unwrap();

/// The result of a request.
pub(super) type Reply = Result<ServerMessage, RequestError>;

/// Sends requests on one connection.
pub(super) struct Requests {
    pub(super) exchange: Arc<Exchange>,
    inbox: Arc<Inbox>,
    permits: Semaphore,
    /// The largest message that the server carries.
    pub(super) max_payload: usize,
    /// JetStream did not reply to the last requests.
    is_stalled: AtomicBool,
    /// The number of failures after which a bucket may be gone.
    failures: AtomicU64,
}

/// The callers that wait for replies.
struct Inbox {
    /// The beginning of the subjects on which replies arrive; a number follows.
    prefix: String,
    next: AtomicU64,
    waiting: Mutex<HashMap<u64, oneshot::Sender<ServerMessage>>>,
}

/// The reasons why there is no reply.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum RequestError {
    /// The server refused the request. The text has no secrets.
    Refused(String),
    /// There is no JetStream, or no such stream.
    NoJetStream,
    /// JetStream exists and does not reply.
    Stalled,
    /// The connection was lost.
    Lost,
}

/// A request that was sent. Dropping it ends the wait for its reply.
pub(super) struct OpenRequest {
    number: u64,
    subject: String,
    reply: oneshot::Receiver<ServerMessage>,
    inbox: Arc<Inbox>,
}

impl Drop for OpenRequest {
    fn drop(&mut self) {
        locked(&self.inbox.waiting).remove(&self.number);
    }
}

impl Requests {
    /// Returns requests on the connection of `exchange`, whose server carries messages of up to `max_payload` bytes.
    pub(super) fn new(exchange: Arc<Exchange>, max_payload: usize) -> Self {
        Self {
            exchange,
            inbox: Arc::new(Inbox {
                prefix: format!("_INBOX.{}.", Uuid::new_v4().simple()),
                next: AtomicU64::new(0),
                waiting: Mutex::default(),
            }),
            permits: Semaphore::new(MAX_OPEN),
            max_payload,
            is_stalled: AtomicBool::new(false),
            failures: AtomicU64::new(0),
        }
    }

    /// Returns the pattern of the subjects on which replies arrive.
    pub(super) fn inbox(&self) -> String {
        format!("{}*", self.inbox.prefix)
    }

    /// Passes `reply` to the caller that waits for it.
    pub(super) fn arrived(&self, reply: ServerMessage) {
        let Inbox { prefix, waiting, .. } = &*self.inbox;
        let number = reply
            .subject
            .get(prefix.len()..)
            .and_then(|number| std::str::from_utf8(number).ok());
        if let Some(number) = number.and_then(|number| number.parse().ok())
            && let Some(waiting) = locked(waiting).remove(&number)
        {
            let _ = waiting.send(reply);
        }
    }

    /// Notes that the connection is lost: no more replies arrive.
    pub(super) fn lost(&self) {
        self.exchange.lost();
        locked(&self.inbox.waiting).clear();
    }

    /// Sends `requests` in batches. Returns one result for each, in order.
    pub(super) async fn send(&self, requests: impl IntoIterator<Item = Publish>) -> Vec<Reply> {
        let requests: Vec<Publish> = requests.into_iter().collect();
        let mut replies = Vec::with_capacity(requests.len());
        for batch in requests.chunks(BATCH) {
            // A server that did not reply to one batch is not asked again.
            if let Some(Err(error @ (RequestError::Lost | RequestError::Stalled))) = replies.last() {
                let error = error.clone();
                replies.resize(requests.len(), Err(error));
                break;
            }
            // The time to reply begins when the requests are sent, so their number is limited.
            let _permits = self
                .permits
                .acquire_many(u32::try_from(batch.len()).unwrap_or(1))
                .await;
            let mut out = Vec::new();
            let open = batch
                .iter()
                .map(|request| self.write(request, &mut out))
                .collect();
            let refusals = self.exchange.flush(out).await;
            replies.extend(self.replies(open, refusals.ok().as_ref()).await);
        }
        replies
    }

    /// Sends one request.
    pub(super) async fn send_one(&self, request: Publish) -> Reply {
        self.send([request])
            .await
            .pop()
            .unwrap_or(Err(RequestError::Lost))
    }

    /// Appends `request` to `out`.
    pub(super) fn write(&self, request: &Publish, out: &mut Vec<u8>) -> Result<OpenRequest, RequestError> {
        let number = self.inbox.next.fetch_add(1, Ordering::Relaxed);
        let (sender, reply) = oneshot::channel();
        if let Some(reason) = self.too_large(request.size()) {
            return Err(RequestError::Refused(reason));
        }
        request.write(Some(&format!("{}{number}", self.inbox.prefix)), out);
        locked(&self.inbox.waiting).insert(number, sender);
        Ok(OpenRequest {
            number,
            subject: request.subject.clone(),
            reply,
            inbox: Arc::clone(&self.inbox),
        })
    }

    /// Waits for the replies to requests that the server has processed; without `refusals`, the connection is lost.
    pub(super) async fn replies(
        &self,
        open: Vec<Result<OpenRequest, RequestError>>,
        refusals: Option<&Refusals>,
    ) -> Vec<Reply> {
        let was_stalled = self.is_stalled.load(Ordering::Relaxed);
        let patience = if was_stalled {
            SHORT_PATIENCE
        } else {
            ANSWER_TIMEOUT
        };
        let deadline = Instant::now() + patience;
        let replies = open.into_iter().map(|open| async move {
            let mut open = open?;
            let refusals = refusals.ok_or(RequestError::Lost)?;
            if let Some(refused) = refusals.of(&open.subject) {
                return Err(RequestError::Refused(refused));
            }
            match timeout_at(deadline, &mut open.reply).await {
                Ok(Ok(reply)) if reply.status() == Some(503) => Err(RequestError::NoJetStream),
                Ok(Ok(reply)) => Ok(reply),
                Ok(Err(_)) => Err(RequestError::Lost),
                Err(_) => Err(RequestError::Stalled),
            }
        });
        let replies: Vec<_> = join_all(replies).await;
        let is_stalled = replies.contains(&Err(RequestError::Stalled));
        // JetStream does not reply to requests about a bucket that is gone.
        if is_stalled || replies.contains(&Err(RequestError::NoJetStream)) {
            self.failures.fetch_add(1, Ordering::Relaxed);
        }
        self.is_stalled.store(is_stalled, Ordering::Relaxed);
        replies
    }

    /// Returns the reason why a message of this size cannot be published, if it cannot.
    pub(super) fn too_large(&self, size: usize) -> Option<String> {
        let limit = self.max_payload;
        (size > limit).then(|| {
            format!("a message of {size} bytes is larger than max_payload of the NATS server, {limit}")
        })
    }
}

impl RequestError {
    /// Returns the reason, for the log.
    pub(super) fn reason(self) -> String {
        match self {
            Self::Refused(reason) => reason,
            Self::NoJetStream => "NATS has no JetStream".to_owned(),
            Self::Stalled => "JetStream does not answer".to_owned(),
            Self::Lost => "connection lost".to_owned(),
        }
    }
}

/// A property of a bucket or a stream, cached until the bucket or stream may be gone.
pub(super) struct Cached<T>(tokio::sync::Mutex<Option<(T, u64)>>);

impl<T> Default for Cached<T> {
    fn default() -> Self {
        Self(tokio::sync::Mutex::default())
    }
}

impl<T: Copy> Cached<T> {
    /// Returns the cached value if it `is_fresh`; else the result of `create`, which creates the bucket or the stream if it is gone.
    ///
    /// # Errors
    /// If JetStream does not create it.
    pub(super) async fn get(
        &self,
        requests: &Requests,
        is_fresh: impl FnOnce(&T) -> bool,
        create: impl Future<Output = Result<T, RequestError>>,
    ) -> Result<T, RequestError> {
        let mut cached = self.0.lock().await;
        let failures = requests.failures.load(Ordering::Relaxed);
        if let Some((value, failures_then)) = *cached
            && failures_then == failures
            && is_fresh(&value)
        {
            return Ok(value);
        }
        *cached = None;
        let value = create.await?;
        *cached = Some((value, failures));
        Ok(value)
    }
}

/// Returns the value of `result`, or notes the error in `stored`.
pub(super) fn ok_or_note<T, R>(stored: &mut Stored<T>, result: Result<R, RequestError>) -> Option<R> {
    match result {
        Ok(value) => return Some(value),
        Err(RequestError::Lost) => stored.lost = true,
        Err(error) => stored.refused = Some(error.reason()),
    }
    None
}
