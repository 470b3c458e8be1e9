//! The authorizer as a webhook: one small POST for each question, whose answer is cached.
//!
//! All requests run on one runtime, so that no shard spends its time on them, and a question continues when the
//! connection that asked it is gone.

use std::{
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};

use ahash::AHashMap;
use fanfare_core::{
    BoxFuture, LogThrottle, RawObject, locked,
    policy::{Action, Authorizer, AuthorizerAnswer, Counts, Question},
};
use futures_util::{FutureExt as _, future::Shared};
use serde::Serialize;
use tokio::{
    runtime::Handle,
    sync::{Semaphore, oneshot},
};

use crate::{causes::Causes, config::Authorizer as Settings, outbound, shared_lru::SharedLru};

/// The most cached answers.
const MAX_CACHED: usize = 100_000;
/// The time for which a missing answer is cached. Short, because the next attempt may succeed; not zero, because more
/// questions do not help an overloaded service.
const FAILURE_TTL: Duration = Duration::from_secs(1);
/// The longest answer, in bytes.
const MAX_ANSWER_BYTES: usize = 64 * 1024;
/// The time between two log lines about missing answers.
const WARN_EVERY: Duration = Duration::from_secs(5);

/// Asks a service over HTTP.
#[derive(Clone)]
pub(crate) struct Webhook(Arc<Inner>);

struct Inner {
    client: reqwest::Client,
    url: reqwest::Url,
    timeout: Duration,
    /// The time for which an answer is cached; zero caches none.
    cache_ttl: Duration,
    /// Answers, each with its expiry.
    cache: SharedLru<Question, (AuthorizerAnswer, Instant)>,
    /// Questions in progress. An answer is in the cache before its question leaves this map.
    pending: Mutex<AHashMap<Question, PendingAnswer>>,
    slots: Semaphore,
    runtime: Handle,
    counts: Mutex<Counts>,
    warnings: LogThrottle,
}

type PendingAnswer = Shared<BoxFuture<'static, AuthorizerAnswer>>;

/// The request's body.
#[derive(Serialize)]
struct WebhookRequest<'a> {
    user: Option<&'a str>,
    action: &'static str,
    channel: &'a str,
}

/// The reason why there is no answer, which counts as a denial. No text contains the URL or the response.
#[derive(Debug, thiserror::Error)]
pub(crate) enum NoAnswer {
    #[error("no answer in time")]
    Late,
    /// The service cannot be reached, or does not speak HTTP.
    #[error("{0}")]
    Request(String),
    /// Not 200. A redirect is not followed.
    #[error("the answer has the HTTP status {0}")]
    Status(u16),
    #[error("the answer is longer than {MAX_ANSWER_BYTES} bytes")]
    TooLong,
    #[error("the answer is not {{\"allow\": true}} or {{\"allow\": false}}")]
    NotAnAnswer,
}

impl Webhook {
    /// Returns the configured webhook, if there is one; its requests run on `runtime`. A configuration that passed the checks
    /// causes no error.
    pub(crate) fn new(settings: &Settings, runtime: Handle) -> Result<Option<Self>, String> {
        let Some(url) = &settings.url else {
            return Ok(None);
        };
        let url = reqwest::Url::parse(url.expose()).ok();
        let url = url.filter(|url| matches!(url.scheme(), "http" | "https") && url.has_host());
        let url = url.ok_or("the authorizer's address is not an http or https URL")?;
        let client = outbound::client()
            // A redirect is not followed: access must not be decided by a third party. Nor is a proxy from the
            // environment used, which is there for other purposes.
            .redirect(reqwest::redirect::Policy::none())
            .no_proxy()
            .build()
            .map_err(|error| {
                format!(
                    "the authorizer's HTTP client cannot start: {}",
                    error.without_url()
                )
            })?;
        Ok(Some(Self(Arc::new(Inner {
            client,
            url,
            timeout: settings.timeout,
            cache_ttl: settings.cache,
            cache: SharedLru::new(MAX_CACHED),
            pending: Mutex::default(),
            slots: Semaphore::new(settings.max_concurrent),
            runtime,
            counts: Mutex::default(),
            warnings: LogThrottle::new(WARN_EVERY),
        }))))
    }

    /// Asks the service now, without the cache, and neither counts nor caches the answer. `fanfare explain --ask` uses it.
    pub(crate) async fn try_out(&self, question: &Question) -> Result<bool, NoAnswer> {
        self.0.request_in_time(question).await
    }
}

impl Authorizer for Webhook {
    fn remembered(&self, question: &Question) -> Option<AuthorizerAnswer> {
        let cached = self.0.cache.get(question, |(_, until)| Instant::now() < *until);
        cached.map(|(answer, _)| answer)
    }

    fn ask(&self, question: Question) -> BoxFuture<'static, AuthorizerAnswer> {
        let mut pending = locked(&self.0.pending);
        if let Some(pending) = pending.get(&question) {
            return pending.clone().boxed();
        }
        if let Some(answer) = self.remembered(&question) {
            return std::future::ready(answer).boxed();
        }
        let (sender, receiver) = oneshot::channel();
        let answer = async move {
            // Another thread may answer before the first poll, and callers count the question by that poll.
            tokio::task::yield_now().await;
            receiver.await.unwrap_or(AuthorizerAnswer::Missing)
        };
        let answer = answer.boxed().shared();
        pending.insert(question.clone(), answer.clone());
        drop(pending); // a runtime that has ended drops the task at once, which takes this lock
        let asked = PendingQuestion {
            inner: Arc::clone(&self.0),
            question,
        };
        self.0.runtime.spawn(async move {
            let answer = asked.inner.answer(&asked.question).await;
            drop(asked);
            let _ = sender.send(answer); // the caller may be gone
        });
        answer.boxed()
    }

    fn counts(&self) -> Counts {
        *locked(&self.0.counts)
    }
}

/// A question in progress. Dropping it removes it from the map.
struct PendingQuestion {
    inner: Arc<Inner>,
    question: Question,
}

impl Drop for PendingQuestion {
    fn drop(&mut self) {
        locked(&self.inner.pending).remove(&self.question);
    }
}

impl Inner {
    /// Asks, counts and caches.
    async fn answer(&self, question: &Question) -> AuthorizerAnswer {
        let requested = self.request_in_time(question).await;
        let mut counts = locked(&self.counts);
        let (answer, count, longest) = match requested {
            Ok(true) => (AuthorizerAnswer::Allowed, &mut counts.allowed, Duration::MAX),
            Ok(false) => (AuthorizerAnswer::Denied, &mut counts.denied, Duration::MAX),
            Err(reason) => {
                if let Some(held_back) = self.warnings.pass() {
                    tracing::warn!(%reason, held_back, "no answer from the authorizer, so the action is denied");
                }
                // A response of any kind means no, however often the question is repeated.
                let answer = if reason.is_absence() {
                    AuthorizerAnswer::Missing
                } else {
                    AuthorizerAnswer::Denied
                };
                (answer, &mut counts.failed, FAILURE_TTL)
            }
        };
        *count += 1;
        drop(counts);
        let ttl = self.cache_ttl.min(longest);
        if !ttl.is_zero() {
            let until = Instant::now() + ttl;
            self.cache.insert(question.clone(), (answer, until));
        }
        answer
    }

    async fn request_in_time(&self, question: &Question) -> Result<bool, NoAnswer> {
        let answer = tokio::time::timeout(self.timeout, self.request(question)).await;
        answer.unwrap_or(Err(NoAnswer::Late))
    }

    async fn request(&self, question: &Question) -> Result<bool, NoAnswer> {
        let _slot = self.slots.acquire().await.map_err(|_| NoAnswer::Late)?;
        let request = WebhookRequest {
            user: question.user.as_deref(),
            action: match question.action {
                Action::Subscribe => "subscribe",
                Action::Publish => "publish",
            },
            channel: &question.channel,
        };
        let sent = self.client.post(self.url.clone()).json(&request).send();
        let mut response = sent.await.map_err(NoAnswer::request)?;
        if response.status() != reqwest::StatusCode::OK {
            return Err(NoAnswer::Status(response.status().as_u16()));
        }
        let body = outbound::body(&mut response, MAX_ANSWER_BYTES).await;
        let body = body.map_err(NoAnswer::request)?.ok_or(NoAnswer::TooLong)?;
        allows(&body).ok_or(NoAnswer::NotAnAnswer)
    }
}

/// Reads the answer field by field, because a derived reader takes a list for an object. An answer with two `allow`
/// fields is not readable.
fn allows(body: &[u8]) -> Option<bool> {
    let answer = RawObject::parse(std::str::from_utf8(body).ok()?).ok()?;
    let mut allow = answer.iter().filter(|(name, _)| *name == "allow");
    match (allow.next()?.1.get(), allow.next()) {
        ("true", None) => Some(true),
        ("false", None) => Some(false),
        _ => None,
    }
}

impl NoAnswer {
    /// Returns whether the service could not be reached, also if a proxy reports that. An unreadable response is no absence.
    fn is_absence(&self) -> bool {
        match self {
            Self::Late | Self::Request(_) => true,
            Self::Status(status) => matches!(status, 502..=504),
            Self::TooLong | Self::NotAnAnswer => false,
        }
    }

    fn request(error: reqwest::Error) -> Self {
        Self::Request(Causes(&error.without_url()).to_string())
    }
}
