//! Migrations by several processes at once.

use std::process::{Command, Stdio};

use sqlx::{AnyPool, Row as _};

use super::{Place, block_on};
use crate::storage::{Storage, StorageError, StorageUrl};

/// The environment variable with the database for a process of `processes_that_start_at_once`.
const URL: &str = "FANFARE_TEST_STORAGE_URL";

pub(super) async fn many_starts_at_once(place: Place) {
    let storages: Vec<Storage> = (0..8).map(|_| place.storage()).collect();
    let prepared = futures_util::future::join_all(storages.iter().map(Storage::prepare)).await;
    assert!(prepared.iter().all(Result::is_ok), "{prepared:?}");
    assert_eq!(storages[0].users("", 1).await, Ok(Vec::new()));
    assert_eq!(versions(&storages[0]).await, [1, 2, 3]);
}

pub(super) async fn processes_that_start_at_once(place: Place) {
    let url = match &place.url {
        url @ StorageUrl::Sqlite(_) => url.to_string(),
        StorageUrl::Postgres(url) => url.expose().to_owned(),
    };
    let start = || {
        Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "storage::tests::start::another_process", "--ignored"])
            .env(URL, &url)
            .stdout(Stdio::null())
            .spawn()
            .unwrap()
    };
    let processes: Vec<_> = (0..4).map(|_| start()).collect();
    for mut process in processes {
        assert!(process.wait().unwrap().success());
    }
    assert_eq!(versions(&place.storage()).await, [1, 2, 3]);
}

#[test]
#[ignore = "run by the test above"]
fn another_process() {
    let Ok(url) = std::env::var(URL) else { return };
    block_on(async {
        let storage = Storage::new(&url.parse().unwrap(), 2).unwrap();
        storage.prepare().await.unwrap();
        storage.close().await;
    });
}

pub(super) async fn a_newer_schema(place: Place) {
    let storage = place.storage();
    storage.prepare().await.unwrap();
    let pool: &AnyPool = storage.pool();
    sqlx::query("INSERT INTO fanfare_schema (version) VALUES (99)")
        .execute(pool)
        .await
        .unwrap();
    let later = place.storage();
    let expected = StorageError::Newer { found: 99, known: 3 };
    assert_eq!(later.prepare().await.as_ref(), Err(&expected));
    assert_eq!(
        later.users("", 1).await,
        Err(expected),
        "nothing is done on such a database"
    );
}

async fn versions(storage: &Storage) -> Vec<i64> {
    let rows = sqlx::query("SELECT version FROM fanfare_schema ORDER BY version")
        .fetch_all(storage.pool())
        .await;
    rows.unwrap().iter().map(|row| row.get("version")).collect()
}
