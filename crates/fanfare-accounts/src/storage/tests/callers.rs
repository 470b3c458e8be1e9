//! Callers that are dropped during an operation, as after a client's reset.

use std::{
    sync::atomic::{AtomicBool, Ordering},
    time::Duration,
};

use sqlx::{AnyConnection, Executor as _};

use super::{
    Place,
    cases::{add, open},
};
use crate::storage::{NewToken, Redemption, Storage, StorageUrl};

const CALLERS: u32 = 2000;
const DAY: i64 = 86_400_000;

/// Redeems the token `a`, and drops the call after a time that differs from call to call.
async fn redeem_and_drop(storage: Storage, number: u32) {
    let offered = Redemption {
        token_hash: "a".to_owned(),
        rotation: number.is_multiple_of(7).then(|| NewToken {
            hash: format!("successor {number}"),
            expires_at: DAY,
        }),
        grace: DAY,
    };
    let patience = Duration::from_micros(u64::from(number * 37 % 1500));
    let _ = tokio::time::timeout(patience, storage.redeem(offered, 1)).await;
}

/// Returns whether the database sees no transaction on a connection.
async fn is_clean(connection: &mut AnyConnection, url: &StorageUrl) -> bool {
    match url {
        // A transaction cannot begin within another.
        StorageUrl::Sqlite(_) => {
            connection.execute("BEGIN").await.is_ok() && connection.execute("ROLLBACK").await.is_ok()
        }
        // A savepoint fails outside of a transaction.
        StorageUrl::Postgres(_) => connection.execute("SAVEPOINT none").await.is_err(),
    }
}

pub(super) async fn dropped_callers_leave_no_transaction_open(place: Place) {
    let storage = place.storage();
    let alice = add(&storage, "alice@example.com", 0).await.unwrap();
    open(&storage, &alice.id, "a", 0).await.unwrap();
    let over = AtomicBool::new(false);
    let hammer = async {
        for number in (0..CALLERS).step_by(8) {
            let eight = (number..number + 8).map(|number| redeem_and_drop(storage.clone(), number));
            futures_util::future::join_all(eight).await;
        }
        over.store(true, Ordering::Relaxed);
    };
    let others = async {
        let mut logins = 0;
        while !over.load(Ordering::Relaxed) {
            let login = open(&storage, &alice.id, &format!("login {logins}"), 1).await;
            assert!(login.is_some(), "login {logins}");
            logins += 1;
        }
        assert!(logins > 0);
    };
    let watch = async {
        while !over.load(Ordering::Relaxed) {
            if let Ok(mut connection) = storage.pool().acquire().await {
                assert!(
                    is_clean(&mut connection, &storage.inner.url).await,
                    "in a transaction"
                );
            }
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    };
    tokio::join!(hammer, others, watch);
    let mut all = Vec::new();
    for _ in 0..4 {
        all.push(storage.pool().acquire().await.unwrap());
    }
    for connection in &mut all {
        assert!(is_clean(connection, &storage.inner.url).await, "in a transaction");
    }
    drop(all);

    // An operation is finished even if its caller was dropped.
    let mut adding = Box::pin(add(&storage, "late@example.com", 1));
    let at_once = tokio::time::timeout(Duration::ZERO, adding.as_mut()).await;
    drop(adding);
    if at_once.is_err() {
        wait_for(&storage, "late@example.com").await;
    }
}

async fn wait_for(storage: &Storage, email: &str) {
    for _ in 0..1000 {
        if storage.credentials(email).await.unwrap().is_some() {
            return;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    panic!("what was begun was never finished");
}

pub(super) async fn a_dropped_caller_does_not_interrupt_the_migration(place: Place) {
    let storage = place.storage();
    let _ = tokio::time::timeout(Duration::from_micros(300), storage.prepare()).await;
    add(&storage, "alice@example.com", 0).await.unwrap();
    let mut connection = storage.pool().acquire().await.unwrap();
    assert!(is_clean(&mut connection, &storage.inner.url).await);
}
