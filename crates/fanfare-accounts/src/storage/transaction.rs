//! Runs operations: each has a connection, a transaction and a task, so that the drop of a caller cancels nothing.
//!
//! A connection returns to the pool only after a commit or a rollback that the database has confirmed. Any other end
//! closes it: an error of `BEGIN`, a panic, a timeout. So the pool never has a connection with an open transaction.

use std::ops::{Deref, DerefMut};

use futures_util::future::BoxFuture;
use sqlx::{Any, AnyConnection, AnyPool, Connection as _, any::AnyArguments, pool::PoolConnection};

use super::{StorageError, StorageUrl};

pub(super) type Statement = sqlx::query::Query<'static, Any, AnyArguments<'static>>;

/// Returns a statement that is not prepared on the server. Behind a pooler such as `PgBouncer` the next transaction may
/// get another connection of the server, where a prepared statement of that name is unknown or another program's.
pub(super) fn statement(sql: &'static str) -> Statement {
    sqlx::query(sql).persistent(false)
}

pub(super) type Work<T> =
    Box<dyn for<'c> FnOnce(&'c mut AnyConnection) -> BoxFuture<'c, sqlx::Result<T>> + Send>;

/// A connection that is closed when it is dropped, unless it was released.
pub(super) struct PooledConnection(Option<PoolConnection<Any>>);

impl PooledConnection {
    pub(super) async fn acquire(pool: &AnyPool) -> sqlx::Result<Self> {
        Ok(Self(Some(pool.acquire().await?)))
    }

    /// Returns the connection to the pool. It must be in no transaction.
    pub(super) fn release(mut self) {
        drop(self.0.take());
    }
}

impl Drop for PooledConnection {
    fn drop(&mut self) {
        if let Some(connection) = self.0.take() {
            // The pool would ping it and keep it. The end of the connection makes the database roll back.
            drop(connection.detach());
        }
    }
}

impl Deref for PooledConnection {
    type Target = AnyConnection;

    #[allow(clippy::expect_used)] // only `release` and `drop` take it, and both end the connection
    fn deref(&self) -> &AnyConnection {
        self.0.as_ref().expect("a connection has its connection")
    }
}

impl DerefMut for PooledConnection {
    #[allow(clippy::expect_used)] // as above
    fn deref_mut(&mut self) -> &mut AnyConnection {
        self.0.as_mut().expect("a connection has its connection")
    }
}

/// Runs `work` in a transaction that begins with `begin`; without one, each of its statements is its own transaction.
pub(super) async fn run<T>(pool: &AnyPool, begin: Option<&'static str>, work: Work<T>) -> sqlx::Result<T> {
    let mut connection = PooledConnection::acquire(pool).await?;
    let Some(begin) = begin else {
        let done = work(&mut connection).await;
        // A failed single statement leaves no transaction open.
        connection.release();
        return done;
    };
    let mut transaction = connection.begin_with(begin).await?;
    match work(&mut transaction).await {
        Ok(done) => {
            transaction.commit().await?;
            connection.release();
            Ok(done)
        }
        Err(error) => {
            if transaction.rollback().await.is_ok() {
                connection.release();
            }
            Err(error)
        }
    }
}

/// Runs `work` to its end in its own task.
pub(super) async fn detached<T: Send + 'static>(
    work: impl Future<Output = Result<T, StorageError>> + Send + 'static,
) -> Result<T, StorageError> {
    let done = tokio::spawn(work).await;
    done.unwrap_or_else(|_| Err(StorageError::Fault("a task was cut off".to_owned())))
}

impl StorageUrl {
    /// Returns the statement that begins a transaction with writes. Without `IMMEDIATE`, SQLite would fail at the first
    /// write instead of waiting here. PostgreSQL's limits apply only to the transaction, because a pooler passes the
    /// connection to other programs afterwards; the times are milliseconds.
    pub(super) fn begin_writing(&self) -> &'static str {
        match self {
            Self::Sqlite(_) => "BEGIN IMMEDIATE",
            Self::Postgres(_) => {
                "BEGIN; SET LOCAL statement_timeout = 5000; SET LOCAL lock_timeout = 2000; \
                 SET LOCAL idle_in_transaction_session_timeout = 10000"
            }
        }
    }

    /// Returns the statement that begins a transaction without writes. With PostgreSQL behind a pooler, it keeps a
    /// statement's preparation and its execution on the same connection of the server.
    pub(super) fn begin_reading(&self) -> Option<&'static str> {
        match self {
            Self::Sqlite(_) => None,
            Self::Postgres(_) => Some(self.begin_writing()),
        }
    }
}
