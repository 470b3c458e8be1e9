//! Opens connections to SQLite and PostgreSQL with their settings, and creates the SQLite file.

use std::fs::{self, OpenOptions};
use std::future::ready;
use std::io::{self, ErrorKind};
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _, OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf, absolute};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use fanfare_core::locked;
use sqlx::{
    AnyPool, ConnectOptions as _, Executor as _,
    any::{AnyConnectOptions, AnyPoolOptions},
    postgres::PgConnectOptions,
};

use super::{Outage, StorageError, StorageUrl, WAIT};

/// The settings of each SQLite connection: the time to wait for a lock, in milliseconds. By default the driver checks
/// foreign keys, and SQLite's confirmed commits survive a power cut. These statements must not access the file, because
/// the pool would treat its errors as a slow start.
const SQLITE_START: &str = "PRAGMA busy_timeout = 2000";
/// The name of connections in PostgreSQL's views, unless the URL sets another.
const APPLICATION: (&str, &str) = ("application_name", "fanfare");

/// Returns the pool of connections to `url`, without a connection yet.
pub(super) fn pool(url: &StorageUrl, max_connections: u32) -> Result<(AnyPool, Arc<Renewal>), StorageError> {
    let renewal = Arc::new(Renewal::default());
    sqlx::any::install_default_drivers();
    let options = AnyPoolOptions::new()
        .max_connections(max_connections.max(1))
        .acquire_timeout(WAIT);
    let (options, text) = match url {
        StorageUrl::Sqlite(path) => {
            let path = absolute(path).map_err(|_| StorageError::Location("the path cannot be used"))?;
            let path = resolved(path);
            // The driver must not create the file: an empty database instead of an unreachable one would look like a loss
            // of all data.
            let text = format!("{}?mode=rw", StorageUrl::Sqlite(path.clone()));
            (sqlite(options, path, renewal.clone()), text)
        }
        StorageUrl::Postgres(url) => {
            // `Any` would read the parameters at the first connection only. The error may quote a part of the URL.
            let text = named(url.expose());
            let read = text.parse::<PgConnectOptions>();
            read.map_err(|_| StorageError::Location("the driver does not understand it"))?;
            let own = renewal.clone();
            let options =
                options.before_acquire(move |_, connection| Box::pin(ready(Ok(own.allows(connection.age)))));
            (options, text)
        }
    };
    let connect = text.parse::<AnyConnectOptions>();
    let connect = connect.map_err(|_| StorageError::Location("the driver does not understand it"))?;
    let pool = options.connect_lazy_with(connect.disable_statement_logging());
    Ok((pool, renewal))
}

/// The time of the last renewal. Connections that were opened before it must not be used any more.
#[derive(Default)]
pub(super) struct Renewal(Mutex<Option<Instant>>);

impl Renewal {
    /// Marks all existing connections for replacement.
    pub(super) fn renew(&self) {
        *locked(&self.0) = Some(Instant::now());
    }

    /// Returns whether a connection of this age may be used.
    fn allows(&self, age: Duration) -> bool {
        locked(&self.0).is_none_or(|at| age <= at.elapsed())
    }
}

/// Returns the URL with a name for the connections. A start-up parameter, unlike `SET`, also works behind a pooler.
fn named(url: &str) -> String {
    let Ok(mut url) = url::Url::parse(url) else {
        return url.to_owned();
    };
    if !url.query_pairs().any(|(key, _)| key == APPLICATION.0) {
        url.query_pairs_mut().append_pair(APPLICATION.0, APPLICATION.1);
    }
    url.into()
}

/// Returns the path with its folder resolved, if the folder exists: a URL cannot keep `..`.
fn resolved(path: PathBuf) -> PathBuf {
    let folder = path.parent().and_then(|folder| folder.canonicalize().ok());
    match (folder, path.file_name()) {
        (Some(folder), Some(name)) => folder.join(name),
        _ => path,
    }
}

/// Returns the options of an SQLite pool. They check the file before each use of a connection: a connection keeps the
/// file that it opened, and its writes are lost after the file is deleted or replaced.
fn sqlite(options: AnyPoolOptions, path: PathBuf, renewal: Arc<Renewal>) -> AnyPoolOptions {
    let file = Arc::new(Watched::default());
    let (at_start, before_use) = ((file.clone(), path.clone()), (file, path));
    options
        .after_connect(move |connection, _| {
            at_start.0.unchanged_since(&at_start.1);
            Box::pin(async move { connection.execute(SQLITE_START).await.map(drop) })
        })
        .before_acquire(move |_, connection| {
            let unchanged_since = before_use.0.unchanged_since(&before_use.1);
            let is_current = unchanged_since.is_some_and(|since| connection.age <= since.elapsed());
            let is_good = is_current && renewal.allows(connection.age);
            Box::pin(ready(Ok(is_good)))
        })
}

/// The file at a path, and the time at which it was first seen there.
#[derive(Default)]
struct Watched(Mutex<Option<((u64, u64), Instant)>>);

impl Watched {
    /// Returns the time at which the current file at `path` was first seen there; `None` if there is none.
    fn unchanged_since(&self, path: &Path) -> Option<Instant> {
        let found = fs::metadata(path).ok()?;
        let found = (found.dev(), found.ino());
        let mut seen = locked(&self.0);
        let same = seen.filter(|(known, _)| *known == found);
        let (_, since) = *seen.insert(same.unwrap_or_else(|| (found, Instant::now())));
        Some(since)
    }
}

/// Creates the folder of the database (mode 0700), unless it exists.
pub(super) fn create_folder(path: &Path) -> io::Result<()> {
    path.parent().map_or(Ok(()), |folder| {
        fs::DirBuilder::new().recursive(true).mode(0o700).create(folder)
    })
}

/// Creates an empty file (mode 0600) for the database, and its folder, unless they exist. Returns the mode of an existing
/// file that other users may access.
pub(super) fn create_file(path: &Path) -> Result<Option<u32>, Outage> {
    let mut new = OpenOptions::new();
    new.write(true).create_new(true).mode(0o600);
    match create_folder(path).and_then(|()| new.open(path)) {
        Ok(_) => Ok(None),
        Err(error) if error.kind() == ErrorKind::AlreadyExists => {
            let mode = fs::metadata(path).map_or(0, |found| found.permissions().mode());
            Ok((mode & 0o077 != 0).then_some(mode & 0o7777))
        }
        Err(error) => Err(outage(&error)),
    }
}

/// Returns the database error for an error of the file system.
pub(super) fn outage(error: &io::Error) -> Outage {
    match error.kind() {
        ErrorKind::PermissionDenied => Outage::Denied,
        ErrorKind::ReadOnlyFilesystem => Outage::ReadOnly,
        ErrorKind::StorageFull | ErrorKind::QuotaExceeded => Outage::Full,
        ErrorKind::NotFound | ErrorKind::NotADirectory | ErrorKind::IsADirectory => Outage::Missing,
        _ => Outage::Unreachable,
    }
}
