//! Restores an SQLite database from a backup while no process uses it.

use std::{
    ffi::OsString,
    fs::{self, File, OpenOptions},
    io::{self, ErrorKind, Read as _},
    os::unix::fs::{MetadataExt as _, OpenOptionsExt as _, fchown},
    path::{Path, PathBuf},
    sync::Mutex,
    time::SystemTime,
};

use fanfare_core::locked;
use rustix::fs::{FlockOperation, fcntl_lock};
use sqlx::{AnyConnection, Executor as _, Row as _};

use super::{
    Storage, StorageError, StorageUrl, connect, millis, schema,
    transaction::{PooledConnection, statement},
};

const MAGIC: &[u8] = b"SQLite format 3\0";

/// The reason why a restore failed. The database is unchanged.
#[derive(Debug, thiserror::Error)]
pub enum RestoreError {
    /// PostgreSQL has its own tools for this.
    #[error("this is for SQLite; restore a PostgreSQL database with pg_restore or psql")]
    NotSqlite,
    /// A server or another program has the database open.
    #[error("the database is in use: stop the server, and every other program that has it open, first")]
    InUse,
    /// The file is the database itself.
    #[error("this is the database itself")]
    Same,
    /// The file is not a backup: not an SQLite database, an incomplete one, or another program's.
    #[error("this is no backup of Fanfare: {0}")]
    NotABackup(String),
    /// A file cannot be read or written.
    #[error("{}: {error}", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// The reason.
        error: io::Error,
    },
}

/// Returns the path with `suffix` appended, such as that of SQLite's files beside the database.
fn beside(path: &Path, suffix: &str) -> PathBuf {
    let mut name: OsString = path.into();
    name.push(suffix);
    name.into()
}

fn of_file(path: &Path) -> impl FnOnce(io::Error) -> RestoreError {
    let path = path.to_owned();
    move |error| RestoreError::File { path, error }
}

/// Replaces the database at `url` by the backup `source`. Returns the path at which the old database is kept, if there
/// was one.
///
/// The copy is complete and checked before it replaces the database in one step.
///
/// # Errors
/// If any step fails; then the database is unchanged, and no file is left behind.
pub async fn restore(url: &StorageUrl, source: &Path) -> Result<Option<PathBuf>, RestoreError> {
    let StorageUrl::Sqlite(database) = url else {
        return Err(RestoreError::NotSqlite);
    };
    let is_same = match (source.canonicalize(), database.canonicalize()) {
        (Ok(source), Ok(database)) => source == database,
        _ => false,
    };
    if is_same {
        return Err(RestoreError::Same);
    }
    connect::create_folder(database).map_err(of_file(database))?;
    let copy = beside(database, ".restoring");
    let done = async {
        copy_backup(source, &copy, database)?;
        check(&copy).await?;
        replace_database(database, &copy)
    };
    let done = done.await;
    if done.is_err() {
        for suffix in ["", "-wal", "-shm", "-journal"] {
            let _ = fs::remove_file(beside(&copy, suffix)); // the first error is reported
        }
    }
    done
}

/// Copies the backup to a new file beside the database (mode 0600), on the same file system and with the same owner.
fn copy_backup(source: &Path, copy: &Path, database: &Path) -> Result<(), RestoreError> {
    let mut from = File::open(source).map_err(of_file(source))?;
    let mut magic = Vec::new();
    let read = from.by_ref().take(MAGIC.len() as u64).read_to_end(&mut magic);
    read.map_err(of_file(source))?;
    if magic != MAGIC {
        return Err(RestoreError::NotABackup("it is no SQLite database".to_owned()));
    }
    for suffix in ["", "-wal", "-shm", "-journal"] {
        // An interrupted restore may have left it.
        remove(&beside(copy, suffix))?;
    }
    let mut new = OpenOptions::new();
    new.write(true).create_new(true).mode(0o600);
    let mut to = new.open(copy).map_err(of_file(copy))?;
    set_owner(&to, database).map_err(of_file(copy))?;
    io::copy(&mut magic.chain(from), &mut to).map_err(of_file(copy))?;
    to.sync_all().map_err(of_file(copy))?;
    // It has the last changes of a database that was copied while it was in use.
    let wal = beside(source, "-wal");
    match fs::metadata(&wal) {
        Ok(found) if found.len() > 0 => fs::copy(&wal, beside(copy, "-wal"))
            .map(drop)
            .map_err(of_file(&wal)),
        _ => Ok(()),
    }
}

/// Sets the owner of `file` to the owner of the database, or of its folder if there is none. Root may run the restore,
/// and the server's user must open the file. SQLite does the same with its own files.
fn set_owner(file: &File, database: &Path) -> io::Result<()> {
    if !rustix::process::geteuid().is_root() {
        return Ok(());
    }
    let owned = fs::metadata(database).or_else(|_| fs::metadata(folder_of(database)))?;
    fchown(file, Some(owned.uid()), Some(owned.gid()))
}

/// Checks that the copy is an undamaged database of Fanfare, of a version that this build knows.
async fn check(copy: &Path) -> Result<(), RestoreError> {
    let storage = Storage::new(&StorageUrl::Sqlite(copy.to_owned()), 1)?;
    let checked = async {
        let connection = PooledConnection::acquire(&storage.inner.pool).await;
        let mut connection = connection.map_err(StorageError::from)?;
        if !is_intact(&mut connection).await.map_err(StorageError::from)? {
            return Err(RestoreError::NotABackup("it is damaged".to_owned()));
        }
        let version = schema::version(&mut connection).await.unwrap_or(0); // an error means that there is no such table
        schema::missing(version)?;
        if version == 0 {
            let reason = "it has no tables of Fanfare's".to_owned();
            return Err(RestoreError::NotABackup(reason));
        }
        // With a write-ahead log, which a backup lacks, readers and a writer do not block each other.
        let wal = connection.execute("PRAGMA journal_mode = WAL").await;
        wal.map_err(StorageError::from)?;
        connection.release();
        Ok(())
    };
    let checked = checked.await;
    // The end of the last connection removes the write-ahead log.
    storage.close().await;
    checked
}

impl From<StorageError> for RestoreError {
    fn from(error: StorageError) -> Self {
        Self::NotABackup(match error {
            StorageError::Unavailable(outage) => outage.to_string(),
            other => other.to_string(),
        })
    }
}

async fn is_intact(connection: &mut AnyConnection) -> sqlx::Result<bool> {
    let found = statement("PRAGMA integrity_check(1)")
        .fetch_one(connection)
        .await?;
    Ok(found.try_get::<String, _>(0)? == "ok")
}

/// Moves the copy into place and keeps the old database, with the files that belong to it.
fn replace_database(database: &Path, copy: &Path) -> Result<Option<PathBuf>, RestoreError> {
    let held = match OpenOptions::new().read(true).write(true).open(database) {
        Err(error) if error.kind() == ErrorKind::NotFound => {
            // A log without its database would be replayed into the restored one.
            for suffix in ["-wal", "-shm", "-journal"] {
                remove(&beside(database, suffix))?;
            }
            move_into_place(copy, database)?;
            return Ok(None);
        }
        opened => opened.map_err(of_file(database))?,
    };
    // A process that has the database open holds SQLite's lock on it. While this process holds the lock, no other process
    // can open the database.
    match fcntl_lock(&held, FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => {}
        Err(rustix::io::Errno::AGAIN | rustix::io::Errno::ACCESS) => return Err(RestoreError::InUse),
        Err(error) => return Err(of_file(database)(error.into())),
    }
    let suffix = format!(".before-restore-{}", millis(SystemTime::now()));
    let aside = beside(database, &suffix);
    // A hard link first, so that the path always has a database.
    fs::hard_link(database, &aside).map_err(of_file(&aside))?;
    for suffix in ["-wal", "-journal"] {
        let from = beside(database, suffix);
        match fs::rename(&from, beside(&aside, suffix)) {
            Err(error) if error.kind() != ErrorKind::NotFound => return Err(of_file(&from)(error)),
            _ => {}
        }
    }
    remove(&beside(database, "-shm"))?;
    move_into_place(copy, database)?;
    drop(held);
    Ok(Some(aside))
}

/// Renames a write-ahead log that does not belong to the database: a backup was copied over the file, and SQLite would
/// replay the log into it. The header of such a database says that it has no log.
pub(super) fn set_aside_foreign_log(database: &Path) {
    // To close a file releases all locks of this process on it, so this runs once, before the first connection.
    static EXAMINED: Mutex<Vec<PathBuf>> = Mutex::new(Vec::new());
    let mut examined = locked(&EXAMINED);
    if examined.iter().any(|path| path == database) {
        return;
    }
    examined.push(database.to_owned());
    drop(examined);
    let log = beside(database, "-wal");
    if !fs::metadata(&log).is_ok_and(|found| found.len() > 0) {
        return;
    }
    let Ok(mut held) = OpenOptions::new().read(true).write(true).open(database) else {
        return;
    };
    let mut header = [0; 20];
    let is_without =
        held.read_exact(&mut header).is_ok() && header.starts_with(MAGIC) && header[18..20] == [1, 1];
    if !is_without || fcntl_lock(&held, FlockOperation::NonBlockingLockExclusive).is_err() {
        return;
    }
    let aside = beside(&log, &format!(".stale-{}", millis(SystemTime::now())));
    if fs::rename(&log, &aside).is_ok() {
        let _ = fs::remove_file(beside(database, "-shm")); // SQLite makes it from the log
        tracing::warn!(
            database = %database.display(), kept = %aside.display(),
            "a backup was copied over the database while a write-ahead log was left from before; the log is not replayed \
             (use `fanfare restore`)"
        );
    }
}

/// Moves the copy into place in one step that survives a power cut.
fn move_into_place(copy: &Path, database: &Path) -> Result<(), RestoreError> {
    fs::rename(copy, database).map_err(of_file(database))?;
    let folder = folder_of(database);
    let synced = File::open(folder).and_then(|folder| folder.sync_all());
    synced.map_err(of_file(folder))
}

fn folder_of(path: &Path) -> &Path {
    match path.parent() {
        Some(folder) if folder != Path::new("") => folder,
        _ => Path::new("."),
    }
}

fn remove(path: &Path) -> Result<(), RestoreError> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != ErrorKind::NotFound => Err(of_file(path)(error)),
        _ => Ok(()),
    }
}
