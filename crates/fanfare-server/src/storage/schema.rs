//! The tables, and how they come to be: numbered scripts, each run once, all in one transaction.
//!
//! Nodes that start at once wait for each other: PostgreSQL by an advisory lock that ends with the transaction, SQLite
//! by a transaction that nobody else can be in.

use std::time::Duration;

use sqlx::{AnyConnection, AnyPool, Executor as _, Row as _};

use super::{Kind, StorageError, error::Outage};

/// The scripts, in order. What has been released is never changed; a change is another script.
const SCRIPTS: &[&str] = &[include_str!("schema/0001_accounts.sql")];

/// The number of the advisory lock: any will do that nobody else has; this one is `fanfare` in ASCII.
const LOCK: i64 = 0x0066_616e_6661_7265;

/// Brings the database to the version of this build, and answers whether something was changed.
///
/// # Errors
/// The database cannot be used, or is newer than this build.
pub(super) async fn migrate(pool: &AnyPool, kind: Kind) -> Result<bool, StorageError> {
    if kind == Kind::Sqlite {
        use_write_ahead_log(pool).await?;
    }
    let mut transaction = pool.begin_with(kind.begin()).await?;
    if kind == Kind::Postgres {
        sqlx::query("SELECT pg_advisory_xact_lock($1)")
            .bind(LOCK)
            .execute(&mut *transaction)
            .await?;
    }
    let changed = run(&mut transaction).await?;
    transaction.commit().await?;
    Ok(changed)
}

async fn run(connection: &mut AnyConnection) -> Result<bool, StorageError> {
    connection
        .execute("CREATE TABLE IF NOT EXISTS fanfare_schema (version BIGINT NOT NULL PRIMARY KEY)")
        .await?;
    let row = sqlx::query("SELECT MAX(version) AS version FROM fanfare_schema")
        .fetch_one(&mut *connection)
        .await?;
    let found: i64 = row.try_get::<Option<i64>, _>("version")?.unwrap_or(0);
    let known = i64::try_from(SCRIPTS.len()).unwrap_or(i64::MAX);
    if found > known {
        return Err(StorageError::Newer { found, known });
    }
    for (version, script) in (1_i64..).zip(SCRIPTS).filter(|(version, _)| *version > found) {
        connection.execute(*script).await?;
        sqlx::query("INSERT INTO fanfare_schema (version) VALUES ($1)")
            .bind(version)
            .execute(&mut *connection)
            .await?;
    }
    Ok(found < known)
}

/// Readers and a writer do not hinder each other with a write-ahead log. The file remembers it, so this is done once;
/// SQLite does not wait for the lock that the change takes, so we do.
async fn use_write_ahead_log(pool: &AnyPool) -> Result<(), StorageError> {
    const TRIES: u32 = 40;
    let mut result = Ok(());
    for _ in 0..TRIES {
        result = sqlx::query("PRAGMA journal_mode = WAL")
            .execute(pool)
            .await
            .map(drop)
            .map_err(StorageError::from);
        if result != Err(Outage::Locked.into()) {
            break;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    result
}
