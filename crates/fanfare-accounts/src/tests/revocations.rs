//! Revocations by one process, and their effect in another.

use std::time::Duration;

use super::{Place, World};
use crate::Revocation;

pub(super) async fn revocations_by_other_processes_apply(place: Place) {
    let (here, there) = (World::new(&place), World::new(&place));
    let login = here.register("alice@example.com").await;
    let bob = here.register("bob@example.com").await;
    there.accounts.reload().await.unwrap();
    let mut feed = there.accounts.revocations().feed();
    let refused = |login: &crate::Login| {
        there
            .accounts
            .revocations()
            .is_refused(&login.user.id, Some(&login.session_id))
    };

    here.pass(1);
    here.accounts.terminate(&login.session_id).await.unwrap();
    here.accounts.set_disabled(&bob.user.id, true).await.unwrap();
    assert!(!refused(&login));
    for _ in 0..2 {
        there.accounts.reload().await.unwrap(); // a second reload sends nothing
    }
    assert!(refused(&login) && refused(&bob) && there.accounts.revocations().is_refused(&bob.user.id, None));
    let mut sent: Vec<Revocation> = std::iter::from_fn(|| feed.try_recv().ok()).collect();
    sent.sort_by_key(|news| format!("{news:?}"));
    assert_eq!(sent.len(), 3);
    assert_eq!(sent[0], Revocation::Disabled(bob.user.id.as_str().into()));

    here.pass(1);
    here.accounts.set_disabled(&bob.user.id, false).await.unwrap();
    there.accounts.reload().await.unwrap();
    assert!(refused(&bob) && !there.accounts.revocations().is_refused(&bob.user.id, None));

    // A revocation that arrived by a notice is not new when it is read from the database.
    let carol = here.register("carol@example.com").await;
    let news = Revocation::Session(carol.session_id.as_str().into());
    assert!(there.accounts.revocations().apply(news, i64::MAX));
    assert!(refused(&carol));
}

pub(super) async fn revocations_apply_after_a_restart(place: Place) {
    let before = World::new(&place);
    let login = before.register("alice@example.com").await;
    let bob = before.register("bob@example.com").await;
    before.accounts.terminate(&login.session_id).await.unwrap();
    before.accounts.set_disabled(&bob.user.id, true).await.unwrap();

    let after = World::new(&place);
    after.pass(3500);
    after.accounts.reload().await.unwrap();
    let refused = |user: &str, session: &str| after.accounts.revocations().is_refused(user, Some(session));
    assert!(refused(&login.user.id, &login.session_id) && refused(&bob.user.id, "any"));
    // Once all of its tokens have expired, a session may be forgotten; a disabled user may not.
    after.pass(300);
    after.accounts.reload().await.unwrap();
    assert!(!refused(&login.user.id, &login.session_id) && refused(&bob.user.id, "any"));
}

pub(super) async fn the_watch_reads_changes_by_other_processes(place: Place) {
    let (here, there) = (
        World::new(&place),
        World::with(&place, |options| {
            options.watch_interval = Duration::from_millis(10);
        }),
    );
    let login = here.register("alice@example.com").await;
    let mut feed = there.accounts.revocations().feed();
    let watch = there.accounts.spawn_watch();
    here.accounts.terminate(&login.session_id).await.unwrap();
    let news = tokio::time::timeout(Duration::from_secs(10), feed.recv())
        .await
        .unwrap()
        .unwrap();
    assert_eq!(news, Revocation::Session(login.session_id.into()));
    watch.abort();
}
