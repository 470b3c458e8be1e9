//! What must outlive the process: users, sessions, messages, API keys; in SQLite or PostgreSQL.
//!
//! One schema and one set of queries serve both (`$1` is a placeholder in both), through sqlx's `Any` driver. What
//! differs is in `connect` and `schema`. Nothing here knows a password, a token or a rule: those are `accounts`'.
//!
//! A [`Storage`] connects when it is first used and again whenever it must, so a database that is away when the server
//! starts is found later. Every operation ends within seconds, with [`StorageError::Unavailable`] if need be.

mod api_keys;
mod backup;
mod condition;
mod connect;
mod error;
mod location;
mod messages;
mod schema;
mod sessions;
mod users;

#[cfg(test)]
pub(crate) mod tests;

use std::{
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use sqlx::{
    Any, AnyPool, Transaction,
    any::{AnyQueryResult, AnyRow},
};
use tokio::sync::OnceCell;
use uuid::Uuid;

pub use api_keys::StoredKey;
pub use backup::BackupError;
use condition::{Condition, Proof};
use connect::Renewal;
pub use error::{Outage, StorageError};
pub use location::StorageUrl;
pub use messages::{Message, NewMessage, Readable};
pub use sessions::{NewSession, Redeemed, Redemption, RotatedBy, Session};
pub use users::{Credentials, NewUser, User};

/// How long an operation waits for a free connection, and a connection for its server or for a lock.
const WAIT: Duration = Duration::from_secs(2);
/// The longest that an operation may take. A server that was stopped in the middle of an answer says nothing at all.
const LONGEST: Duration = Duration::from_secs(8);

/// A database. Clones are the same one.
#[derive(Clone)]
pub struct Storage {
    inner: Arc<Inner>,
}

struct Inner {
    pool: AnyPool,
    kind: Kind,
    url: StorageUrl,
    /// Set once the tables are known to be those of this build.
    prepared: OnceCell<()>,
    /// How the last operations found the database.
    condition: Mutex<Condition>,
    renewal: Arc<Renewal>,
}

/// Which database it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Sqlite,
    Postgres,
}

impl Kind {
    /// How a transaction that writes begins. SQLite must be told, else it would refuse at the first write what it can
    /// wait for now.
    fn begin(self) -> &'static str {
        match self {
            Self::Sqlite => "BEGIN IMMEDIATE",
            Self::Postgres => "BEGIN",
        }
    }
}

impl Storage {
    /// A database at `url`, with at most so many connections. Nothing is connected yet; must be called in a Tokio
    /// runtime.
    ///
    /// # Errors
    /// The URL is one that the driver does not understand.
    pub fn new(url: &StorageUrl, max_connections: u32) -> Result<Self, StorageError> {
        let (pool, kind, renewal) = connect::pool(url, max_connections)?;
        Ok(Self {
            inner: Arc::new(Inner {
                pool,
                kind,
                url: url.clone(),
                prepared: OnceCell::new(),
                condition: Mutex::new(Condition::Good),
                renewal,
            }),
        })
    }

    /// Connects, makes the SQLite file if there is none, and brings the tables to the version of this build. Every
    /// operation does so if nobody did before; to call it at the start finds mistakes early.
    ///
    /// # Errors
    /// The database cannot be used at the moment, or is newer than this build.
    pub async fn prepare(&self) -> Result<(), StorageError> {
        let prepared = tokio::time::timeout(LONGEST, self.prepared()).await;
        self.judged(prepared.unwrap_or_else(|_| Err(Outage::Slow.into())), |()| {
            Proof::OfReading
        })
    }

    async fn prepared(&self) -> Result<(), StorageError> {
        let prepare = || async {
            if let StorageUrl::Sqlite(path) = &self.inner.url {
                connect::create_file(path)?;
            }
            if schema::migrate(&self.inner.pool, self.inner.kind).await? {
                tracing::info!(url = %self.inner.url, "the database has the tables of this version now");
            }
            Ok(())
        };
        self.inner.prepared.get_or_try_init(prepare).await.map(drop)
    }

    /// Whether the database could be used when it was last tried.
    pub fn is_up(&self) -> bool {
        *self.condition() == Condition::Good
    }

    /// Whether this is an SQLite file to which nothing was ever written.
    pub fn is_blank(&self) -> bool {
        match &self.inner.url {
            StorageUrl::Sqlite(path) => std::fs::metadata(path).is_ok_and(|file| file.len() == 0),
            StorageUrl::Postgres(_) => false,
        }
    }

    /// Where the database is; printing it shows no password.
    pub fn url(&self) -> &StorageUrl {
        &self.inner.url
    }

    /// Closes all connections, and waits until they are.
    pub async fn close(&self) {
        self.inner.pool.close().await;
    }

    /// Reads something from the prepared database, within bounds of time.
    async fn read<T>(&self, work: impl Future<Output = sqlx::Result<T>>) -> Result<T, StorageError> {
        self.run(work, |_| Proof::OfReading).await
    }

    /// Changes something in the prepared database, within bounds of time. `has_written` says whether what came of it shows
    /// that the database takes changes.
    async fn write<T>(
        &self,
        work: impl Future<Output = sqlx::Result<T>>,
        has_written: impl FnOnce(&T) -> bool,
    ) -> Result<T, StorageError> {
        let proof = |done: &T| {
            if has_written(done) {
                Proof::OfWriting
            } else {
                Proof::OfReading
            }
        };
        self.run(work, proof).await
    }

    async fn run<T>(
        &self,
        work: impl Future<Output = sqlx::Result<T>>,
        proof: impl FnOnce(&T) -> Proof,
    ) -> Result<T, StorageError> {
        let work = async {
            self.prepared().await?;
            work.await.map_err(StorageError::from)
        };
        let done = tokio::time::timeout(LONGEST, work).await;
        self.judged(done.unwrap_or_else(|_| Err(Outage::Slow.into())), proof)
    }

    /// Says in the log when the database goes away and when it is back; once each, however many callers notice.
    fn judged<T>(
        &self,
        result: Result<T, StorageError>,
        proof: impl FnOnce(&T) -> Proof,
    ) -> Result<T, StorageError> {
        let (before, now) = {
            let mut condition = self.condition();
            let before = *condition;
            *condition = match &result {
                Ok(done) => before.after(proof(done)),
                Err(StorageError::Unavailable(outage)) => Condition::of(*outage),
                // It answered, at least.
                Err(_) => before.after(Proof::OfReading),
            };
            (before, *condition)
        };
        match &result {
            Err(StorageError::Unavailable(outage)) => {
                if before == Condition::Good {
                    tracing::warn!(url = %self.inner.url, error = %outage, "the storage failed");
                }
                if outage.spoils_connections() {
                    self.inner.renewal.renew();
                }
            }
            Err(error @ StorageError::Fault(_)) => tracing::error!(%error, "a storage operation went wrong"),
            _ => {}
        }
        if before != Condition::Good && now == Condition::Good {
            tracing::info!(url = %self.inner.url, "the storage is back");
        }
        result
    }

    fn condition(&self) -> std::sync::MutexGuard<'_, Condition> {
        self.inner
            .condition
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    fn pool(&self) -> &AnyPool {
        &self.inner.pool
    }

    /// A transaction that will write. It is rolled back unless it is committed.
    async fn begin(&self) -> sqlx::Result<Transaction<'static, Any>> {
        self.inner.pool.begin_with(self.inner.kind.begin()).await
    }
}

impl std::fmt::Debug for Storage {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Storage").field(&self.inner.url).finish()
    }
}

/// Whether a statement has changed anything.
fn changed(done: &AnyQueryResult) -> bool {
    done.rows_affected() > 0
}

/// A new id: a UUID of version 7, so that ids are in the order of their making.
pub fn new_id() -> String {
    Uuid::now_v7().hyphenated().to_string()
}

/// A time as the database keeps it: milliseconds since 1970.
pub fn millis(time: SystemTime) -> i64 {
    let since = time.duration_since(UNIX_EPOCH).unwrap_or_default().as_millis();
    i64::try_from(since).unwrap_or(i64::MAX)
}

/// The time that [`millis`] made that of.
pub fn time_of(millis: i64) -> SystemTime {
    UNIX_EPOCH + Duration::from_millis(u64::try_from(millis).unwrap_or_default())
}

/// A list of texts as the database keeps it. What is no list of texts is an empty one: no role and no scope.
fn list_of(row: &AnyRow, column: &str) -> sqlx::Result<Vec<String>> {
    use sqlx::Row;
    let text: String = row.try_get(column)?;
    Ok(serde_json::from_str(&text).unwrap_or_default())
}

fn text_of(list: &[String]) -> String {
    serde_json::Value::from(list).to_string()
}
