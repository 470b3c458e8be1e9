//! Questions to JetStream, and their answers.

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

/// The most open questions, not counting those that go with a publication.
const OPEN_QUESTIONS: usize = 1024;
/// How long to wait for JetStream after it did not answer: callers must not wait the full time again and again.
const SHORT_PATIENCE: Duration = ANSWER_TIMEOUT.checked_div(4).unwrap();

/// Sends questions on one connection.
pub(super) struct Questions {
    pub(super) exchange: Arc<Exchange>,
    answers: Arc<Answers>,
    turns: Semaphore,
    /// The largest message that the server carries.
    pub(super) max_payload: usize,
    /// JetStream did not answer the last questions.
    is_stalled: AtomicBool,
    /// Counts answers after which a bucket may be gone.
    missing: AtomicU64,
}

/// The callers that wait for answers.
struct Answers {
    /// The subject of answers; a number follows.
    inbox: String,
    next: AtomicU64,
    waiting: Mutex<HashMap<u64, oneshot::Sender<ServerMessage>>>,
}

/// Why there is no answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Unanswered {
    /// The server refused the question; why, without secrets.
    Refused(String),
    /// There is no JetStream, or no such stream.
    NoJetStream,
    /// JetStream is there and does not answer.
    Stalled,
    /// The connection was lost.
    Lost,
}

/// A question that was sent. Dropping it ends the wait for its answer.
pub(super) struct Asked {
    number: u64,
    subject: String,
    answer: oneshot::Receiver<ServerMessage>,
    answers: Arc<Answers>,
}

impl Drop for Asked {
    fn drop(&mut self) {
        locked(&self.answers.waiting).remove(&self.number);
    }
}

impl Questions {
    /// Returns questions on the connection of `exchange`, whose server carries messages of up to `max_payload` bytes.
    pub(super) fn new(exchange: Arc<Exchange>, max_payload: usize) -> Self {
        Self {
            exchange,
            answers: Arc::new(Answers {
                inbox: format!("_INBOX.{}.", Uuid::new_v4().simple()),
                next: AtomicU64::new(0),
                waiting: Mutex::default(),
            }),
            turns: Semaphore::new(OPEN_QUESTIONS),
            max_payload,
            is_stalled: AtomicBool::new(false),
            missing: AtomicU64::new(0),
        }
    }

    /// Returns the subject on which answers arrive; a number follows.
    pub(super) fn inbox(&self) -> &str {
        &self.answers.inbox
    }

    /// Passes `answer` to the caller that waits for it.
    pub(super) fn arrived(&self, answer: ServerMessage) {
        let Answers { inbox, waiting, .. } = &*self.answers;
        let number = answer
            .subject
            .get(inbox.len()..)
            .and_then(|number| std::str::from_utf8(number).ok());
        if let Some(number) = number.and_then(|number| number.parse().ok())
            && let Some(waiting) = locked(waiting).remove(&number)
        {
            let _ = waiting.send(answer);
        }
    }

    /// Notes that the connection is lost: no more answers arrive.
    pub(super) fn lost(&self) {
        self.exchange.lost();
        locked(&self.answers.waiting).clear();
    }

    /// Sends all of `requests` at once. Returns one answer for each.
    pub(super) async fn ask(
        &self,
        requests: impl IntoIterator<Item = Publish>,
    ) -> Vec<Result<ServerMessage, Unanswered>> {
        let requests: Vec<Publish> = requests.into_iter().collect();
        // The time to answer begins when the questions are sent, so only so many are sent at once.
        let count = u32::try_from(requests.len().min(OPEN_QUESTIONS)).unwrap_or(1);
        let _turns = self.turns.acquire_many(count).await;
        let mut out = Vec::new();
        let asked = requests
            .iter()
            .map(|request| self.write(request, &mut out))
            .collect();
        let refusals = self.exchange.carry_out(out).await;
        self.answers_to(asked, refusals.ok().as_ref()).await
    }

    /// As [`Self::ask`], for one.
    pub(super) async fn ask_one(&self, request: Publish) -> Result<ServerMessage, Unanswered> {
        self.ask([request]).await.pop().unwrap_or(Err(Unanswered::Lost))
    }

    /// Writes `request` behind `out`.
    pub(super) fn write(&self, request: &Publish, out: &mut Vec<u8>) -> Result<Asked, Unanswered> {
        let number = self.answers.next.fetch_add(1, Ordering::Relaxed);
        let (sender, answer) = oneshot::channel();
        if let Some(reason) = self.too_large(request.size()) {
            return Err(Unanswered::Refused(reason));
        }
        request.write(Some(&format!("{}{number}", self.answers.inbox)), out);
        locked(&self.answers.waiting).insert(number, sender);
        Ok(Asked {
            number,
            subject: request.subject.clone(),
            answer,
            answers: Arc::clone(&self.answers),
        })
    }

    /// Waits for the answers to questions that the server has processed.
    pub(super) async fn answers_to(
        &self,
        asked: Vec<Result<Asked, Unanswered>>,
        refusals: Option<&Refusals>,
    ) -> Vec<Result<ServerMessage, Unanswered>> {
        let was_stalled = self.is_stalled.load(Ordering::Relaxed);
        let patience = if was_stalled {
            SHORT_PATIENCE
        } else {
            ANSWER_TIMEOUT
        };
        let deadline = Instant::now() + patience;
        let answers = asked.into_iter().map(|asked| async move {
            let mut asked = asked?;
            let refusals = refusals.ok_or(Unanswered::Lost)?;
            if let Some(refused) = refusals.of(&asked.subject) {
                return Err(Unanswered::Refused(refused));
            }
            match timeout_at(deadline, &mut asked.answer).await {
                Ok(Ok(answer)) if answer.status() == Some(503) => Err(Unanswered::NoJetStream),
                Ok(Ok(answer)) => Ok(answer),
                Ok(Err(_)) => Err(Unanswered::Lost),
                Err(_) => Err(Unanswered::Stalled),
            }
        });
        let answers: Vec<_> = join_all(answers).await;
        let is_stalled = answers.contains(&Err(Unanswered::Stalled));
        // JetStream does not answer questions about a bucket that is gone.
        if is_stalled || answers.contains(&Err(Unanswered::NoJetStream)) {
            self.missing.fetch_add(1, Ordering::Relaxed);
        }
        self.is_stalled.store(is_stalled, Ordering::Relaxed);
        answers
    }

    /// Returns why a message of this size cannot be published, if it cannot.
    pub(super) fn too_large(&self, size: usize) -> Option<String> {
        let limit = self.max_payload;
        (size > limit).then(|| {
            format!("a message of {size} bytes is larger than max_payload of the NATS server, {limit}")
        })
    }
}

impl Unanswered {
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

/// A fact about a bucket or a stream, cached until that may be gone.
pub(super) struct Learned<T>(tokio::sync::Mutex<Option<(T, u64)>>);

impl<T> Default for Learned<T> {
    fn default() -> Self {
        Self(tokio::sync::Mutex::default())
    }
}

impl<T: Copy> Learned<T> {
    /// Returns the cached fact if it `serves`; else the result of `make`, which creates the bucket or the stream if it is gone.
    ///
    /// # Errors
    /// If JetStream does not create it.
    pub(super) async fn get(
        &self,
        questions: &Questions,
        serves: impl FnOnce(&T) -> bool,
        make: impl Future<Output = Result<T, Unanswered>>,
    ) -> Result<T, Unanswered> {
        let mut learned = self.0.lock().await;
        let missing = questions.missing.load(Ordering::Relaxed);
        if let Some((value, then)) = *learned
            && then == missing
            && serves(&value)
        {
            return Ok(value);
        }
        *learned = None;
        let value = make.await?;
        *learned = Some((value, missing));
        Ok(value)
    }
}

/// Notes in `stored` why there is no result.
pub(super) fn note<T, R>(stored: &mut Stored<T>, result: Result<R, Unanswered>) -> Option<R> {
    match result {
        Ok(result) => return Some(result),
        Err(Unanswered::Lost) => stored.lost = true,
        Err(reason) => stored.refused = Some(reason.reason()),
    }
    None
}
