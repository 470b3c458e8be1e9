//! Databases that are unavailable, and available again.

use std::{
    fs::{self, Permissions},
    os::unix::fs::PermissionsExt as _,
    path::Path,
    time::{Duration, Instant},
};

use rustix::thread::{CapabilitySet, capabilities, set_capabilities};
use sqlx::{Connection as _, Executor as _, SqliteConnection};

use super::{Place, Postgres, block_on, cases};
use crate::storage::{BackupError, Outage, Storage, StorageError, StorageUrl};

async fn add(storage: &Storage, email: &str) -> Result<(), StorageError> {
    cases::add(storage, email, 1).await.map(drop)
}

/// Opens the file by a connection without a `Storage`, as another program would.
async fn other_program(place: &Place) -> SqliteConnection {
    SqliteConnection::connect(&place.url.to_string()).await.unwrap()
}

fn unavailable(outage: Outage) -> Result<(), StorageError> {
    Err(StorageError::Unavailable(outage))
}

#[test]
fn the_file_is_accessible_only_to_its_owner() {
    block_on(async {
        let folder = tempfile::tempdir().unwrap();
        let data = folder.path().join("not/yet");
        let text = StorageUrl::text_of_file(data.to_str().unwrap(), "f.db");
        let storage = Storage::new(&text.parse().unwrap(), 2).unwrap();
        add(&storage, "a@example.com").await.unwrap();
        let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o7777;
        assert_eq!(mode(&data), 0o700);
        for entry in fs::read_dir(&data).unwrap() {
            let path = entry.unwrap().path();
            assert_eq!(mode(&path), 0o600, "{}", path.display());
        }
    });
}

#[test]
fn a_database_that_another_program_locks_is_unavailable() {
    block_on(async {
        let place = Place::sqlite();
        let storage = place.storage();
        add(&storage, "a@example.com").await.unwrap();
        let mut other = other_program(&place).await;
        other.execute("BEGIN IMMEDIATE").await.unwrap();
        let began = Instant::now();
        assert_eq!(add(&storage, "b@example.com").await, unavailable(Outage::Locked));
        assert!(
            began.elapsed() < Duration::from_secs(10),
            "it does not wait for ever"
        );
        assert!(storage.outage().is_some());
        assert!(
            storage.credentials("a@example.com").await.unwrap().is_some(),
            "reading goes on"
        );
        assert!(storage.outage().is_some(), "which says nothing of writing");
        storage.mark_published("none", 1).await.unwrap_err();
        other.execute("ROLLBACK").await.unwrap();
        storage.mark_published("none", 1).await.unwrap();
        assert!(storage.outage().is_some(), "nothing was written");
        assert_eq!(add(&storage, "b@example.com").await, Ok(()));
        assert!(storage.outage().is_none());
    });
}

#[test]
fn full() {
    block_on(async {
        let place = Place::sqlite();
        let storage = Storage::new(&place.url, 1).unwrap();
        add(&storage, "a@example.com").await.unwrap();
        storage.pool().execute("PRAGMA max_page_count = 1").await.unwrap(); // no more than there are
        let mut last = Ok(());
        for number in 0..1000 {
            last = add(&storage, &format!("{number}-{}@example.com", "x".repeat(500))).await;
            if last.is_err() {
                break;
            }
        }
        assert_eq!(last, unavailable(Outage::Full));
        storage
            .pool()
            .execute("PRAGMA max_page_count = 100000")
            .await
            .unwrap();
        assert_eq!(add(&storage, "b@example.com").await, Ok(()));
    });
}

#[test]
fn read_only() {
    block_on(async {
        let place = Place::sqlite();
        let storage = Storage::new(&place.url, 1).unwrap();
        add(&storage, "a@example.com").await.unwrap();
        storage.pool().execute("PRAGMA query_only = ON").await.unwrap();
        assert_eq!(
            add(&storage, "b@example.com").await,
            unavailable(Outage::ReadOnly)
        );
        storage.pool().execute("PRAGMA query_only = OFF").await.unwrap();
        assert_eq!(add(&storage, "b@example.com").await, Ok(()));
    });
}

#[test]
fn a_missing_database_is_unavailable() {
    block_on(async {
        let place = Place::sqlite();
        fs::write(
            place.file(),
            "this is a text, and long enough to be looked at as a header of some file",
        )
        .unwrap();
        assert_eq!(place.storage().prepare().await, unavailable(Outage::Corrupt));
        fs::remove_file(place.file()).unwrap();
        fs::create_dir(place.file()).unwrap();
        let error = place.storage().prepare().await.unwrap_err();
        assert!(error.is_outage(), "{error}");
    });
}

#[test]
fn a_database_that_returns_is_used_again() {
    block_on(async {
        let place = Place::sqlite();
        let storage = place.storage();
        add(&storage, "a@example.com").await.unwrap();
        let copy = place.file().with_extension("copy");
        storage.backup(&copy).await.unwrap();
        add(&storage, "b@example.com").await.unwrap();

        for suffix in ["db", "db-wal", "db-shm"] {
            fs::remove_file(place.file().with_extension(suffix)).unwrap();
        }
        assert_eq!(add(&storage, "c@example.com").await, unavailable(Outage::Missing));
        assert!(
            !place.file().exists(),
            "an empty one in its place would look like a loss of everything"
        );

        fs::rename(&copy, place.file()).unwrap();
        assert_eq!(
            add(&storage, "b@example.com").await,
            Ok(()),
            "that is the restored one, without b"
        );
        assert_eq!(storage.users("", 10).await.unwrap().len(), 2);
    });
}

#[test]
fn backups() {
    block_on(async {
        let place = Place::sqlite();
        let storage = place.storage();
        let target = place.file().with_extension("backup");
        let missing = storage.backup(&target).await.unwrap_err();
        assert!(
            matches!(
                missing,
                BackupError::Storage(StorageError::Unavailable(Outage::Missing))
            ),
            "{missing}"
        );
        assert!(!place.file().exists() && !target.exists());

        add(&storage, "a@example.com").await.unwrap();
        // Another program has an open write transaction, which is not in the copy.
        let mut other = other_program(&place).await;
        other
            .execute("BEGIN IMMEDIATE; UPDATE users SET name = 'half'")
            .await
            .unwrap();
        storage.backup(&target).await.unwrap();
        let mode = fs::metadata(&target).unwrap().permissions().mode();
        assert_eq!(mode & 0o7777, 0o600);
        let text = StorageUrl::Sqlite(target.clone());
        let users = Storage::new(&text, 1).unwrap().users("", 10).await.unwrap();
        assert_eq!(users.len(), 1);
        assert_ne!(users[0].name.as_deref(), Some("half"));

        let again = storage.backup(&target).await.unwrap_err();
        assert!(
            matches!(&again, BackupError::File(error) if error.kind() == std::io::ErrorKind::AlreadyExists)
        );
        let nowhere = storage.backup(Path::new("/nowhere/at/all")).await.unwrap_err();
        assert!(matches!(nowhere, BackupError::File(_)), "{nowhere}");
    });
}

#[test]
fn a_file_of_another_user_is_refused() {
    without_root_capabilities(|| {
        block_on(async {
            let place = Place::sqlite();
            let before = place.storage();
            before.prepare().await.unwrap();
            // SQLite would open the file by a descriptor that another connection of this process has left. A closed
            // pool may keep a connection that was just being returned, until it is dropped.
            before.close().await;
            drop(before);
            let deadline = Instant::now() + Duration::from_secs(30);
            while is_open(&place.file()) {
                assert!(Instant::now() < deadline, "the database stays open");
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
            fs::set_permissions(place.file(), Permissions::from_mode(0o000)).unwrap();
            assert!(place.storage().prepare().await.unwrap_err().is_outage());
        });
    });
}

/// Returns whether this process has a descriptor of the file.
fn is_open(file: &Path) -> bool {
    let mut descriptors = fs::read_dir("/proc/self/fd").unwrap().flatten();
    descriptors.any(|descriptor| fs::read_link(descriptor.path()).is_ok_and(|path| path == file))
}

/// Runs `work` on a separate thread without the capabilities by which root can open every file.
fn without_root_capabilities(work: impl FnOnce() + Send) {
    let run = || {
        let mut sets = capabilities(None).unwrap();
        let override_modes = CapabilitySet::DAC_OVERRIDE | CapabilitySet::DAC_READ_SEARCH;
        sets.effective.remove(override_modes);
        sets.permitted.remove(override_modes);
        set_capabilities(None, sets).unwrap();
        work();
    };
    std::thread::scope(|scope| scope.spawn(run).join()).unwrap();
}

#[test]
fn a_server_that_stops_and_returns_is_used_again() {
    let mut server = Postgres::start();
    let place = Place::postgres(&server, "outage");
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .unwrap();
    let storage = runtime.block_on(async { place.storage() });
    let add = |email: &str| runtime.block_on(add(&storage, email));
    add("a@example.com").unwrap();

    server.kill();
    assert_eq!(add("b@example.com"), unavailable(Outage::Unreachable));
    server.restart();
    assert_eq!(add("b@example.com"), Ok(()), "nobody had to do anything");

    server.signal("-STOP");
    let began = Instant::now();
    assert!(add("c@example.com").unwrap_err().is_outage());
    assert!(
        began.elapsed() < Duration::from_secs(15),
        "it says nothing, and is not waited for"
    );
    server.signal("-CONT");
    let back = (0..100).any(|_| add("d@example.com").is_ok());
    assert!(back);

    server
        .execute("ALTER DATABASE outage SET default_transaction_read_only = on")
        .unwrap();
    let fresh = runtime.block_on(async { place.storage() });
    assert_eq!(runtime.block_on(fresh.prepare()), Ok(()), "reading goes on");
    assert_eq!(
        runtime.block_on(self::add(&fresh, "e@example.com")),
        unavailable(Outage::ReadOnly)
    );
    // Existing connections still lack the right to change anything.
    server
        .execute("ALTER DATABASE outage SET default_transaction_read_only = off")
        .unwrap();
    assert_eq!(runtime.block_on(self::add(&fresh, "e@example.com")), Ok(()));

    let text = server.url("there_is_none");
    let none = runtime.block_on(async { Storage::new(&text.parse().unwrap(), 1).unwrap() });
    let error = runtime.block_on(none.prepare()).unwrap_err();
    assert_eq!(error, StorageError::Unavailable(Outage::Missing));
    assert!(!format!("{error} {error:?} {none:?}").contains("hunter2"));
    let refused = runtime.block_on(storage.backup(Path::new("/tmp/x"))).unwrap_err();
    assert!(matches!(refused, BackupError::NotSqlite));
}
