//! One suite for both databases: each case gets an empty one. Tests of only one database are beside it.
#![allow(clippy::unwrap_used)]

mod callers;
mod cases;
mod outages;
mod postgres;
mod start;

use futures_util::future::LocalBoxFuture;

use super::{Storage, StorageUrl};
pub(crate) use postgres::Postgres;

/// An empty database.
pub(crate) struct Place {
    pub(crate) url: StorageUrl,
    folder: tempfile::TempDir,
}

impl Place {
    /// A file that does not exist yet.
    pub(crate) fn sqlite() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let text = StorageUrl::text_of_file(&folder.path().display().to_string(), "test.db");
        Self {
            url: text.parse().unwrap(),
            folder,
        }
    }

    /// Returns a new database of that name.
    pub(crate) fn postgres(server: &Postgres, name: &str) -> Self {
        let url = server.create(name).parse().unwrap();
        Self {
            url,
            folder: tempfile::tempdir().unwrap(),
        }
    }

    /// Returns a storage with separate connections.
    pub(crate) fn storage(&self) -> Storage {
        Storage::new(&self.url, 4).unwrap()
    }

    /// The SQLite file.
    pub(crate) fn file(&self) -> std::path::PathBuf {
        self.folder.path().join("test.db")
    }
}

/// A named test that needs a database.
pub(crate) type Case = (&'static str, fn(Place) -> LocalBoxFuture<'static, ()>);

/// Turns async functions into cases.
macro_rules! suite {
    ($($module:ident::$name:ident),+ $(,)?) => {
        &[$((stringify!($name), |place| Box::pin($module::$name(place)))),+]
    };
}
pub(crate) use suite;

/// Runs work on a separate thread, as the server does.
pub(crate) fn block_on<T>(work: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .unwrap();
    runtime.block_on(work)
}

pub(crate) fn run_on_sqlite(cases: &[Case]) {
    for (name, case) in cases {
        eprintln!("sqlite: {name}");
        block_on(case(Place::sqlite()));
    }
}

pub(crate) fn run_on_postgres(cases: &[Case]) {
    let server = Postgres::start();
    for (name, case) in cases {
        eprintln!("postgres: {name}");
        block_on(case(Place::postgres(&server, name)));
    }
}

const ALL: &[Case] = suite![
    cases::users,
    cases::one_of_two_registrations,
    cases::sessions,
    cases::refreshing,
    cases::replays,
    cases::two_refreshes_at_once,
    cases::logins_while_the_password_changes,
    cases::too_many_sessions,
    cases::messages,
    cases::unpublished_messages,
    cases::keys,
    callers::dropped_callers_leave_no_transaction_open,
    callers::a_dropped_caller_does_not_interrupt_the_migration,
    start::many_starts_at_once,
    start::processes_that_start_at_once,
    start::a_newer_schema,
];

#[test]
fn on_sqlite() {
    run_on_sqlite(ALL);
}

#[test]
fn on_postgres() {
    run_on_postgres(ALL);
}
