//! Stores users, sessions, messages and API keys, in SQLite or PostgreSQL.
//!
//! Both have the same schema and queries (`$1` is a placeholder in both), by sqlx's `Any` driver. The differences are in
//! `connect`, `schema` and `transaction`. The rules for accounts are in the modules above.
//!
//! A [`Storage`] connects at its first use and reconnects if needed, so the database may be down when the server starts.
//! Every operation ends within seconds, at the latest with [`StorageError::Unavailable`].

mod api_keys;
mod backup;
mod condition;
mod connect;
mod error;
mod location;
mod messages;
mod restore;
mod schema;
mod sessions;
mod transaction;
mod users;

#[cfg(test)]
pub(crate) mod tests;

use std::{
    pin::pin,
    sync::{
        Arc, Mutex,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use fanfare_core::{Histogram, locked};
use sqlx::{
    AnyPool,
    any::{AnyQueryResult, AnyRow},
};
use tokio::{
    sync::{OnceCell, Semaphore, SemaphorePermit},
    time::timeout,
};
use uuid::Uuid;

pub use api_keys::StoredKey;
pub use backup::BackupError;
use condition::{Change, Condition};
use connect::Renewal;
pub(crate) use error::Result;
pub use error::{Outage, StorageError};
pub use location::StorageUrl;
pub use messages::Message;
pub use restore::{RestoreError, restore};
pub use sessions::Session;
pub(crate) use sessions::{NewSession, NewToken, Redeemed, Redemption};
use transaction::{Statement, Work, statement};
pub(crate) use users::Credentials;
pub use users::User;

/// The time that an operation waits for a free connection, and a connection for its server or for a lock.
const WAIT: Duration = Duration::from_secs(2);
/// The longest time of an operation, because a server that was stopped in the middle of a reply sends nothing more.
const LONGEST: Duration = Duration::from_secs(8);

/// The time between two log lines about a lasting fault.
const FAULT_REPEATED: Duration = Duration::from_secs(600);

/// A database. Clones share it.
#[derive(Clone)]
pub struct Storage {
    inner: Arc<Database>,
}

struct Database {
    pool: AnyPool,
    url: StorageUrl,
    /// Set once the tables have the schema of this build.
    prepared: OnceCell<()>,
    condition: Mutex<Condition>,
    renewal: Arc<Renewal>,
    /// A permit to write, for SQLite, which has one writer at a time. Writers that poll SQLite's lock may starve; here
    /// they wait in order.
    writer: Semaphore,
    /// The number of successful writes, because a queue that moves is not an outage.
    writes_done: AtomicU64,
    /// The mode of the SQLite file, if other users may access it.
    exposed: Mutex<Option<u32>>,
    /// The last logged fault, with the time.
    fault: Mutex<Option<(StorageError, Instant)>>,
    /// The times of operations, waits included.
    operations: Histogram,
}

impl Storage {
    /// Returns the storage at `url`, without a connection yet. Call it in a Tokio runtime.
    ///
    /// # Errors
    /// If the driver does not understand the URL.
    pub fn new(url: &StorageUrl, max_connections: u32) -> Result<Self> {
        let (pool, renewal) = connect::pool(url, max_connections)?;
        Ok(Self {
            inner: Arc::new(Database {
                pool,
                url: url.clone(),
                prepared: OnceCell::new(),
                condition: Mutex::new(Condition::new(Instant::now())),
                renewal,
                writer: Semaphore::new(1),
                writes_done: AtomicU64::new(0),
                exposed: Mutex::default(),
                fault: Mutex::default(),
                operations: Histogram::default(),
            }),
        })
    }

    /// Connects, creates the SQLite file if there is none, and migrates the tables to this build. Every operation does
    /// this if needed; call it at the start to find mistakes early.
    ///
    /// # Errors
    /// If the database cannot be used at the moment, or is newer than this build.
    pub async fn prepare(&self) -> Result<()> {
        let prepare = |storage: Self| async move { storage.prepared().await };
        self.operate(prepare, |()| false).await
    }

    async fn prepared(&self) -> Result<()> {
        let prepare = || async {
            if let StorageUrl::Sqlite(path) = &self.inner.url {
                restore::set_aside_foreign_log(path);
                let exposed = connect::create_file(path)?;
                let before = std::mem::replace(&mut *locked(&self.inner.exposed), exposed);
                if let Some(mode) = exposed.filter(|_| exposed != before) {
                    tracing::warn!(path = %path.display(), mode = format!("{mode:04o}"),
                        "other users may access the database; its mode should be 0600");
                }
            }
            if schema::migrate(&self.inner.pool, &self.inner.url).await? {
                tracing::info!(url = %self.inner.url, "the database has the tables of this version now");
            }
            Ok(())
        };
        self.inner.prepared.get_or_try_init(prepare).await.map(drop)
    }

    /// Returns the reason why the last operations could not use the database; `None` if they could.
    pub fn outage(&self) -> Option<Outage> {
        locked(&self.inner.condition).outage()
    }

    /// Returns the times of operations, from the call to the confirmed end, failed ones included.
    pub fn operations(&self) -> &Histogram {
        &self.inner.operations
    }

    /// Returns whether this is an empty SQLite file.
    pub fn is_blank(&self) -> bool {
        matches!(&self.inner.url, StorageUrl::Sqlite(path)
            if std::fs::metadata(path).is_ok_and(|file| file.len() == 0))
    }

    /// Returns the database's location, which is printed without its password.
    pub fn url(&self) -> &StorageUrl {
        &self.inner.url
    }

    /// Closes all connections, and waits until they are closed.
    pub async fn close(&self) {
        self.inner.pool.close().await;
    }

    /// Returns the row that a statement finds, if there is one.
    async fn one<T: Send + 'static>(
        &self,
        query: Statement,
        read: fn(&AnyRow) -> sqlx::Result<T>,
    ) -> Result<Option<T>> {
        let work: Work<_> = Box::new(move |connection| {
            Box::pin(async move {
                let row = query.fetch_optional(connection).await?;
                row.as_ref().map(read).transpose()
            })
        });
        self.run(self.inner.url.begin_reading(), work, |_| false).await
    }

    /// Returns all rows that a statement finds.
    async fn all<T: Send + 'static>(
        &self,
        query: Statement,
        read: fn(&AnyRow) -> sqlx::Result<T>,
    ) -> Result<Vec<T>> {
        let work: Work<_> = Box::new(move |connection| {
            Box::pin(async move { query.fetch_all(connection).await?.iter().map(read).collect() })
        });
        self.run(self.inner.url.begin_reading(), work, |_| false).await
    }

    /// Runs one statement that changes rows, and returns their number.
    async fn change(&self, query: Statement) -> Result<u64> {
        let work: Work<_> = Box::new(move |connection| Box::pin(query.execute(connection)));
        let changed = |done: &AnyQueryResult| done.rows_affected() > 0;
        self.write(work, changed).await.map(|done| done.rows_affected())
    }

    /// Changes rows in one transaction. `has_written` returns whether the result proves that the database accepts
    /// changes.
    async fn write<T: Send + 'static>(&self, work: Work<T>, has_written: fn(&T) -> bool) -> Result<T> {
        let begin = self.inner.url.begin_writing();
        self.run(Some(begin), work, has_written).await
    }

    async fn run<T: Send + 'static>(
        &self,
        begin: Option<&'static str>,
        work: Work<T>,
        has_written: fn(&T) -> bool,
    ) -> Result<T> {
        let run = move |storage: Self| async move {
            storage.prepared().await?;
            let permit = storage.writer_permit(begin).await?;
            let done = transaction::run(&storage.inner.pool, begin, work).await?;
            if permit.is_some() {
                storage.inner.writes_done.fetch_add(1, Relaxed);
            }
            Ok(done)
        };
        self.operate(run, has_written).await
    }

    /// Runs an operation within the time limit, to its end even if the caller is dropped, and records its result.
    async fn operate<T: Send + 'static, F: Future<Output = Result<T>> + Send>(
        &self,
        work: impl FnOnce(Self) -> F + Send + 'static,
        has_written: fn(&T) -> bool,
    ) -> Result<T> {
        let (storage, start) = (self.clone(), Instant::now());
        transaction::detached(async move {
            let done = timeout(LONGEST, work(storage.clone())).await;
            storage.record(
                start,
                done.unwrap_or_else(|_| Err(Outage::Slow.into())),
                has_written,
            )
        })
        .await
    }

    /// Waits for the permit of a transaction that begins with `begin`; returns `None` if it needs none. Fails if no write
    /// has succeeded for a while, whatever the length of the queue.
    async fn writer_permit(&self, begin: Option<&'static str>) -> Result<Option<SemaphorePermit<'_>>> {
        if begin.is_none() || !self.inner.url.is_sqlite() {
            return Ok(None);
        }
        let mut permit = pin!(self.inner.writer.acquire());
        loop {
            let done = self.inner.writes_done.load(Relaxed);
            match timeout(WAIT, permit.as_mut()).await {
                Ok(permit) => return permit.map(Some).map_err(|_| Outage::Unreachable.into()),
                Err(_) if self.inner.writes_done.load(Relaxed) == done => return Err(Outage::Locked.into()),
                Err(_) => {}
            }
        }
    }

    /// Records the result of an operation, and logs once that the database fails or is available again.
    fn record<T>(&self, began: Instant, result: Result<T>, has_written: fn(&T) -> bool) -> Result<T> {
        let found = match &result {
            Ok(done) => Ok(has_written(done)),
            Err(StorageError::Unavailable(outage)) => Err(*outage),
            // The database has replied.
            Err(_) => Ok(false),
        };
        let now = Instant::now();
        self.inner.operations.observe(now - began);
        let change = locked(&self.inner.condition).record(found, began, now);
        match &result {
            Err(StorageError::Unavailable(outage)) => {
                if change == Some(Change::Failed) {
                    tracing::warn!(url = %self.inner.url, error = %outage, "the storage failed");
                }
                if outage.spoils_connections() {
                    self.inner.renewal.renew();
                }
            }
            Err(error @ StorageError::Fault(_)) if self.is_new_fault(error) => {
                tracing::error!(%error, "a storage operation went wrong");
            }
            _ => {}
        }
        if change == Some(Change::Back) {
            tracing::info!(url = %self.inner.url, "the storage is back");
        }
        result
    }

    /// Returns whether to log a fault, because a loop causes the same one each time.
    fn is_new_fault(&self, error: &StorageError) -> bool {
        let mut last = locked(&self.inner.fault);
        let is_logged = |(logged, at): &(_, Instant)| logged == error && at.elapsed() < FAULT_REPEATED;
        let is_new = !last.as_ref().is_some_and(is_logged);
        if is_new {
            *last = Some((error.clone(), Instant::now()));
        }
        is_new
    }

    #[cfg(test)]
    fn pool(&self) -> &AnyPool {
        &self.inner.pool
    }
}

impl std::fmt::Debug for Storage {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Storage").field(&self.inner.url).finish()
    }
}

/// Returns a new id: a UUID of version 7, so that ids sort by creation.
pub fn new_id() -> String {
    Uuid::now_v7().hyphenated().to_string()
}

/// Returns a time in the form of the database: milliseconds since 1970.
pub fn millis(time: SystemTime) -> i64 {
    let since = time.duration_since(UNIX_EPOCH).unwrap_or_default().as_millis();
    i64::try_from(since).unwrap_or(i64::MAX)
}

/// Returns the time of [`millis`].
pub fn time_of(millis: i64) -> SystemTime {
    UNIX_EPOCH + Duration::from_millis(u64::try_from(millis).unwrap_or_default())
}

/// Returns a stored list of texts. A damaged list is empty, so that it grants no role and no scope.
fn list_of(row: &AnyRow, column: &str) -> sqlx::Result<Vec<String>> {
    use sqlx::Row;
    let text: String = row.try_get(column)?;
    Ok(serde_json::from_str(&text).unwrap_or_default())
}

fn text_of(list: &[String]) -> String {
    serde_json::Value::from(list).to_string()
}
