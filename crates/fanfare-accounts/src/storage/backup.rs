//! Backs an SQLite database up while it is in use.

use std::fs::{self, OpenOptions};
use std::io;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;

use super::{
    Outage, Storage, StorageError, StorageUrl, connect,
    transaction::{self, Work, statement},
};

/// The reason why a backup failed.
#[derive(Debug, thiserror::Error)]
pub enum BackupError {
    /// PostgreSQL has its own tools for backups.
    #[error("this is for SQLite; back a PostgreSQL database up with pg_dump")]
    NotSqlite,
    /// The copy cannot be written; an existing file is never overwritten.
    #[error("{0}")]
    File(#[source] io::Error),
    /// The database cannot be read.
    #[error("{0}")]
    Storage(#[from] StorageError),
}

impl Storage {
    /// Writes a consistent copy of the database to the new file `target` (mode 0600). The copy is complete on return.
    /// The database stays in use meanwhile.
    ///
    /// # Errors
    /// If the copy cannot be made; then no file is left behind.
    pub async fn backup(&self, target: &Path) -> Result<(), BackupError> {
        let StorageUrl::Sqlite(source) = &self.inner.url else {
            return Err(BackupError::NotSqlite);
        };
        // SQLite would otherwise create an empty database.
        fs::metadata(source).map_err(|error| StorageError::from(connect::outage(&error)))?;
        let invalid = || BackupError::File(io::ErrorKind::InvalidFilename.into());
        let name = target.to_str().ok_or_else(invalid)?;
        let mut new = OpenOptions::new();
        new.write(true).create_new(true).mode(0o600);
        let file = new.open(target).map_err(BackupError::File)?;
        // SQLite accepts an empty file as a new one, and keeps its mode.
        let copy = statement("VACUUM INTO $1").bind(name.to_owned());
        let work: Work<_> = Box::new(move |connection| Box::pin(copy.execute(connection)));
        let copied = transaction::run(&self.inner.pool, None, work).await;
        let copied = copied.map_err(|error| match error.into() {
            // An I/O error here is most likely a full disk under the copy.
            StorageError::Unavailable(Outage::Broken) => BackupError::Storage(Outage::Full.into()),
            error => BackupError::Storage(error),
        });
        let synced = copied.and_then(|_| file.sync_all().map_err(BackupError::File));
        synced.inspect_err(|_| {
            let _ = fs::remove_file(target); // the first error is reported
        })
    }
}
