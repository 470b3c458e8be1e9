//! The errors of the database, by the actions that are left to the caller.
//!
//! No text here repeats the database's message, which may quote values. The error code is enough to look it up.

pub(crate) type Result<T> = std::result::Result<T, StorageError>;

/// The reason why a storage operation failed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum StorageError {
    /// The database is not available; the operation may succeed later.
    #[error("the storage is not available: {0}")]
    Unavailable(Outage),
    /// The new row exists already.
    #[error("there is such a record already")]
    Conflict,
    /// A later version of Fanfare has changed the tables.
    #[error(
        "the database has schema version {found}, and this build knows up to {known}: use a newer Fanfare"
    )]
    Newer {
        /// The version in the database.
        found: i64,
        /// The latest version that this build knows.
        known: i64,
    },
    /// `storage.url` is not usable.
    #[error("storage.url: {0}")]
    Location(&'static str),
    /// A bug in Fanfare, or a database that another program changed.
    #[error("the storage failed: {0}")]
    Fault(String),
}

/// The reason why a database cannot be used at the moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Outage {
    /// No connection in time (the server is down, or all connections are busy), or the connection broke.
    #[error("no connection")]
    Unreachable,
    /// It did not answer in time.
    #[error("no answer in time")]
    Slow,
    /// Another process holds a lock.
    #[error("locked by another process")]
    Locked,
    /// It is read-only.
    #[error("read-only")]
    ReadOnly,
    /// The disk or another resource is used up.
    #[error("no space or another resource is used up")]
    Full,
    /// Its files cannot be read or written.
    #[error("an error of the disk")]
    Broken,
    /// Its files are damaged, or are not a database.
    #[error("damaged, or not a database")]
    Corrupt,
    /// Access is denied: the password or the permissions.
    #[error("access denied")]
    Denied,
    /// There is no such database.
    #[error("no such database")]
    Missing,
    /// The server, or a pooler in front of it, refuses a parameter of the connection.
    #[error(
        "a parameter of the connection was refused (PgBouncer: ignore_startup_parameters = extra_float_digits)"
    )]
    Parameters,
}

impl Outage {
    /// Returns whether existing connections may be useless after this outage: a connection to a read-only file stays
    /// read-only, and a connection to a server that has become a standby does not reach the new primary.
    pub(super) fn spoils_connections(self) -> bool {
        !matches!(self, Self::Locked | Self::Slow)
    }

    /// Returns whether the database may still be read.
    pub(super) fn only_stops_changes(self) -> bool {
        matches!(self, Self::Locked | Self::ReadOnly | Self::Full | Self::Broken)
    }
}

impl StorageError {
    /// Returns whether the operation may succeed later.
    pub fn is_outage(&self) -> bool {
        matches!(self, Self::Unavailable(_))
    }
}

impl From<Outage> for StorageError {
    fn from(outage: Outage) -> Self {
        Self::Unavailable(outage)
    }
}

impl From<sqlx::Error> for StorageError {
    fn from(error: sqlx::Error) -> Self {
        use sqlx::Error;
        match error {
            Error::Database(error) if error.is_unique_violation() => Self::Conflict,
            Error::Database(error) => {
                let code = error.code().unwrap_or_default().into_owned();
                let outage = match code.parse::<i32>() {
                    // SQLSTATEs have five characters; SQLite's numbers have at most four digits.
                    Ok(number) if code.len() < 5 => of_sqlite(number),
                    _ => of_sqlstate(&code),
                };
                outage.map_or_else(|| Self::Fault(format!("code {code}")), Self::Unavailable)
            }
            // The pool retries for as long as a server refuses connections.
            Error::PoolTimedOut
            | Error::Io(_)
            | Error::Tls(_)
            | Error::Protocol(_)
            | Error::PoolClosed
            | Error::WorkerCrashed => Outage::Unreachable.into(),
            // SQLite has rolled a transaction back, as it does on a full disk, and the driver assumes that it is still
            // open.
            Error::InvalidSavePointStatement | Error::BeginFailed => Outage::Broken.into(),
            Error::Configuration(_) => Self::Location("the driver does not understand it"),
            Error::RowNotFound => Self::Fault("a record that was just written is gone".to_owned()),
            Error::ColumnNotFound(column) | Error::ColumnDecode { index: column, .. } => {
                Self::Fault(format!("column {column}"))
            }
            _ => Self::Fault("in the driver".to_owned()),
        }
    }
}

/// Maps the result codes of SQLite; the low byte is the primary code.
fn of_sqlite(code: i32) -> Option<Outage> {
    match code & 0xff {
        3 | 23 => Some(Outage::Denied),
        5 | 6 => Some(Outage::Locked),
        8 => Some(Outage::ReadOnly),
        10 => Some(Outage::Broken),
        11 | 26 => Some(Outage::Corrupt),
        7 | 13 => Some(Outage::Full),
        14 => Some(Outage::Missing), // cannot open
        _ => None,
    }
}

/// Maps the SQLSTATEs of PostgreSQL; the first two characters are the class.
fn of_sqlstate(code: &str) -> Option<Outage> {
    match code {
        "08P01" => Some(Outage::Parameters),
        "3D000" => Some(Outage::Missing),
        "25006" => Some(Outage::ReadOnly),
        "42501" => Some(Outage::Denied),
        "55P03" | "40001" | "40P01" => Some(Outage::Locked),
        "57014" => Some(Outage::Slow),
        _ => match code.get(..2)? {
            "08" | "57" | "58" => Some(Outage::Unreachable),
            "28" => Some(Outage::Denied),
            "53" => Some(Outage::Full),
            "XX" => Some(Outage::Corrupt),
            _ => None,
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn result_codes_of_sqlite_are_mapped_to_outages() {
        for (code, expected) in [
            (5, Some(Outage::Locked)),
            (517, Some(Outage::Locked)), // BUSY_SNAPSHOT
            (1032, Some(Outage::ReadOnly)),
            (13, Some(Outage::Full)),
            (26, Some(Outage::Corrupt)),
            (4874, Some(Outage::Broken)), // no room for the memory that processes share
            (14, Some(Outage::Missing)),
            (1, None),
            (787, None), // a foreign key
        ] {
            assert_eq!(of_sqlite(code), expected, "{code}");
        }
    }

    #[test]
    fn sqlstates_of_postgresql_are_mapped_to_outages() {
        for (code, expected) in [
            ("08006", Some(Outage::Unreachable)),
            ("08P01", Some(Outage::Parameters)),
            ("57P01", Some(Outage::Unreachable)), // an administrator's shutdown
            ("57P03", Some(Outage::Unreachable)), // starting up
            ("57014", Some(Outage::Slow)),
            ("53100", Some(Outage::Full)),
            ("53300", Some(Outage::Full)),
            ("28P01", Some(Outage::Denied)),
            ("25006", Some(Outage::ReadOnly)),
            ("40P01", Some(Outage::Locked)),
            ("42703", None),
            ("", None),
        ] {
            assert_eq!(of_sqlstate(code), expected, "{code}");
        }
    }
}
