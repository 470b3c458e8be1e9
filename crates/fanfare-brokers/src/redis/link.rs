//! The connection that publishes: made, watched, and made again for ever.

use std::{
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use redis::{AsyncConnectionConfig, RedisError, aio::MultiplexedConnection};
use tokio::sync::Notify;

use super::{ANSWER_TIMEOUT, Shared, backoff::Backoff, status::Side};

/// Between two questions whether Redis is still there.
pub(super) const PING_INTERVAL: Duration = Duration::from_secs(1);

/// The publishing connection, if there is one now.
#[derive(Default)]
pub(super) struct PublishLink {
    /// Numbered, so that a failure of an old connection does not end its successor.
    current: Mutex<Option<(u64, MultiplexedConnection)>>,
    lost: Notify,
}

impl PublishLink {
    /// The connection and its number.
    pub(super) fn current(&self) -> Option<(u64, MultiplexedConnection)> {
        self.lock().clone()
    }

    /// Connection `number` failed.
    pub(super) fn failed(&self, number: u64) {
        let mut current = self.lock();
        if current.as_ref().is_some_and(|(at, _)| *at == number) {
            *current = None;
            self.lost.notify_one();
        }
    }

    fn lock(&self) -> MutexGuard<'_, Option<(u64, MultiplexedConnection)>> {
        self.current.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Keeps the publishing connection up.
pub(super) async fn run(shared: Arc<Shared>) {
    let config = AsyncConnectionConfig::new()
        .set_connection_timeout(Some(ANSWER_TIMEOUT))
        .set_response_timeout(Some(ANSWER_TIMEOUT));
    let mut backoff = Backoff::default();
    for number in 0.. {
        let attempt = shared
            .client
            .get_multiplexed_async_connection_with_config(&config);
        // The library's limit is for each of several steps; ours is for all of them.
        let error = match tokio::time::timeout(ANSWER_TIMEOUT, attempt).await {
            Ok(Ok(connection)) => {
                backoff.reset();
                *shared.link.lock() = Some((number, connection.clone()));
                shared.status.up(Side::Publishing);
                let error = tokio::select! {
                    error = watch(connection) => error,
                    () = shared.link.lost.notified() => "a publication failed".to_owned(),
                };
                *shared.link.lock() = None;
                error
            }
            Ok(Err(error)) => describe(&error),
            Err(_) => "timed out".to_owned(),
        };
        shared.status.down(Side::Publishing, error);
        backoff.wait().await;
    }
}

/// Asks again and again; ends, with the reason, when there is no answer.
async fn watch(mut connection: MultiplexedConnection) -> String {
    loop {
        tokio::time::sleep(PING_INTERVAL).await;
        let ping = redis::cmd("PING");
        let answer = ping.query_async::<redis::Value>(&mut connection);
        match tokio::time::timeout(ANSWER_TIMEOUT, answer).await {
            Ok(Err(error)) if !is_answer(&error) => return describe(&error),
            Ok(_) => {}
            Err(_) => return "timed out".to_owned(),
        }
    }
}

/// Whether Redis itself said so: then it is there, though it may be loading its data.
fn is_answer(error: &RedisError) -> bool {
    error.code().is_some()
}

/// What `error` is, in words that cannot hold a password or anything published: those of the system, of TLS, or
/// Redis' own code, never the details that a server adds.
pub(super) fn describe(error: &RedisError) -> String {
    if error.is_connection_refusal() {
        "connection refused".to_owned()
    } else if error.is_timeout() {
        "timed out".to_owned()
    } else if let Some(code) = error.code() {
        format!("Redis answered {code}")
    } else if error.is_connection_dropped() {
        "connection lost".to_owned()
    } else if let Some(system) = std::error::Error::source(error).and_then(io_error) {
        system.to_string()
    } else {
        error.category().to_owned()
    }
}

/// The library wraps what the system said at several depths.
fn io_error<'a>(error: &'a (dyn std::error::Error + 'static)) -> Option<&'a std::io::Error> {
    if let Some(error) = error.downcast_ref::<std::io::Error>() {
        return Some(error);
    }
    if let Some(shared) = error.downcast_ref::<Arc<dyn std::error::Error + Send + Sync>>() {
        return io_error(shared.as_ref());
    }
    error.source().and_then(io_error)
}
