//! The tables and their migrations: numbered scripts, each run once, all in one transaction.
//!
//! Nodes that start at the same time wait for each other: with PostgreSQL by an advisory lock that ends with the
//! transaction, with SQLite by an exclusive transaction.

use std::time::Duration;

use sqlx::{AnyConnection, AnyPool, Executor as _, Row as _};

use super::{
    StorageError, StorageUrl,
    error::Outage,
    transaction::{self, Work, statement},
};

/// The scripts, in order. A released script never changes; add a new one instead.
const SCRIPTS: &[&str] = &[
    include_str!("schema/0001_accounts.sql"),
    include_str!("schema/0002_reset_tokens.sql"),
    include_str!("schema/0003_key_use.sql"),
];

/// The number of the advisory lock: `fanfare` in ASCII, so that no other program has it.
const LOCK: i64 = 0x0066_616e_6661_7265;

/// Migrates the database to this build, and returns whether a script was run.
pub(super) async fn migrate(pool: &AnyPool, url: &StorageUrl) -> Result<bool, StorageError> {
    // Most starts find the tables up to date, and need neither a lock nor the right to change tables.
    let read: Work<_> = Box::new(|connection| Box::pin(version(connection)));
    let found = transaction::run(pool, url.begin_reading(), read).await;
    match found.map_err(StorageError::from) {
        Ok(found) if missing(found)?.is_empty() => {
            if url.is_sqlite() {
                // A copied backup has no write-ahead log yet, but works without one.
                let _ = use_write_ahead_log(pool).await;
            }
            return Ok(false);
        }
        Err(error) if error.is_outage() => return Err(error),
        Ok(_) | Err(_) => {} // the table does not exist yet
    }
    if url.is_sqlite() {
        use_write_ahead_log(pool).await?;
    }
    let locks = !url.is_sqlite();
    let work: Work<_> = Box::new(move |connection| {
        Box::pin(async move {
            if locks {
                let lock = statement("SELECT pg_advisory_xact_lock($1)").bind(LOCK);
                lock.execute(&mut *connection).await?;
            }
            run(connection).await
        })
    });
    let found = transaction::run(pool, Some(url.begin_writing()), work).await?;
    Ok(!missing(found)?.is_empty())
}

/// Runs the missing scripts, and returns the version before. A newer database is not changed.
async fn run(connection: &mut AnyConnection) -> sqlx::Result<i64> {
    let create = "CREATE TABLE IF NOT EXISTS fanfare_schema (version BIGINT NOT NULL PRIMARY KEY)";
    connection.execute(create).await?;
    let found = version(&mut *connection).await?;
    for (version, script) in missing(found).into_iter().flatten() {
        connection.execute(script).await?;
        statement("INSERT INTO fanfare_schema (version) VALUES ($1)")
            .bind(version)
            .execute(&mut *connection)
            .await?;
    }
    Ok(found)
}

/// Returns the version of the database; 0 for none.
pub(super) async fn version(connection: &mut AnyConnection) -> sqlx::Result<i64> {
    let select = statement("SELECT MAX(version) AS version FROM fanfare_schema");
    let row = select.fetch_one(connection).await?;
    Ok(row.try_get::<Option<i64>, _>("version")?.unwrap_or(0))
}

/// Returns the scripts that a database of version `found` needs, each with its number.
pub(super) fn missing(found: i64) -> Result<Vec<(i64, &'static str)>, StorageError> {
    let known = i64::try_from(SCRIPTS.len()).unwrap_or(i64::MAX);
    if found > known {
        return Err(StorageError::Newer { found, known });
    }
    let numbered = (1_i64..).zip(SCRIPTS.iter().copied());
    Ok(numbered.filter(|(version, _)| *version > found).collect())
}

/// Enables the write-ahead log for the file, with which readers and a writer do not block each other. SQLite does not
/// wait for the lock that this change takes, so this function retries.
async fn use_write_ahead_log(pool: &AnyPool) -> Result<(), StorageError> {
    const TRIES: u32 = 40;
    let mut result = Ok(());
    for _ in 0..TRIES {
        let work: Work<_> = Box::new(|connection| {
            Box::pin(async move { connection.execute("PRAGMA journal_mode = WAL").await.map(drop) })
        });
        let switched = transaction::run(pool, None, work).await;
        result = switched.map_err(StorageError::from);
        if result != Err(Outage::Locked.into()) {
            break;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    result
}
