//! The connection that publishes: made, watched, and made again for ever.

use std::{
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use redis::{AsyncConnectionConfig, Pipeline, RedisError, Value, aio::MultiplexedConnection};
use tokio::sync::{Notify, Semaphore};

use super::{ANSWER_TIMEOUT, Shared, backoff::Backoff, status::Side};

/// Between two questions whether Redis is still there.
pub(super) const PING_INTERVAL: Duration = Duration::from_secs(1);

/// Bytes of questions and answers on their way to Redis at once, in KiB; a larger one goes alone. What is published
/// waits behind them.
const BULK_KIB: u32 = 1024;

/// The publishing connection, if there is one now.
pub(super) struct PublishLink {
    /// Numbered, so that a failure of an old connection does not end its successor.
    current: Mutex<Option<(u64, MultiplexedConnection)>>,
    lost: Notify,
    bulk: Semaphore,
}

impl Default for PublishLink {
    fn default() -> Self {
        Self {
            current: Mutex::default(),
            lost: Notify::new(),
            bulk: Semaphore::new(BULK_KIB as usize),
        }
    }
}

impl PublishLink {
    /// The connection and its number.
    pub(super) fn current(&self) -> Option<(u64, MultiplexedConnection)> {
        self.lock().clone()
    }

    /// Sends the `count` commands of `pipe`. The answers, or `None` when it is not known which commands Redis has carried out.
    pub(super) async fn send(&self, pipe: &Pipeline, count: usize) -> Option<Vec<Value>> {
        let (number, mut connection) = self.current()?;
        // The connection's own response timeout ends this.
        let answers = connection.send_packed_commands(pipe, 0, count).await;
        let answers = answers.ok().filter(|answers| answers.len() == count);
        if answers.is_none() {
            self.failed(number);
        }
        answers
    }

    /// Publishes one message that may be large. To how many listeners it went, or `None` when that is not known.
    pub(super) async fn publish(&self, channel: &str, message: &[u8]) -> Option<u32> {
        let kib = u32::try_from(message.len() / 1024 + 1).unwrap_or(BULK_KIB);
        let _turn = self.bulk.acquire_many(kib.min(BULK_KIB)).await.ok()?;
        let mut pipe = Pipeline::with_capacity(1);
        pipe.cmd("PUBLISH").arg(channel).arg(message);
        match self.send(&pipe, 1).await?.first()? {
            Value::Int(listeners) => u32::try_from(*listeners).ok(),
            _ => None,
        }
    }

    /// Connection `number` failed.
    fn failed(&self, number: u64) {
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
            .address
            .client
            .get_multiplexed_async_connection_with_config(&config);
        // The library's limit is for each of several steps; ours is for all of them.
        let error = match tokio::time::timeout(ANSWER_TIMEOUT, attempt).await {
            Ok(Ok(connection)) => {
                backoff.reset();
                *shared.link.lock() = Some((number, connection.clone()));
                shared.status.up(Side::Publishing);
                let error = tokio::select! {
                    error = watch(&shared, connection) => error,
                    () = shared.link.lost.notified() => "a publication failed".to_owned(),
                };
                *shared.link.lock() = None;
                error
            }
            Ok(Err(error)) => shared.address.describe(&error),
            Err(_) => "timed out".to_owned(),
        };
        shared.status.down(Side::Publishing, error);
        backoff.wait().await;
    }
}

/// Asks again and again; ends, with the reason, when there is no answer.
async fn watch(shared: &Shared, mut connection: MultiplexedConnection) -> String {
    loop {
        tokio::time::sleep(PING_INTERVAL).await;
        let ping = redis::cmd("PING");
        let answer = ping.query_async::<Value>(&mut connection);
        match tokio::time::timeout(ANSWER_TIMEOUT, answer).await {
            Ok(Err(error)) if !is_answer(&error) => return shared.address.describe(&error),
            Ok(_) => {}
            Err(_) => return "timed out".to_owned(),
        }
    }
}

/// Whether Redis itself answered so: then it is there, though it may be loading its data, or refuse `PING`.
pub(super) fn is_answer(error: &RedisError) -> bool {
    error.code().is_some()
}
