//! Logins, refreshes and the end of sessions.

use std::net::IpAddr;
use std::sync::atomic::Ordering;
use std::time::Duration;

use super::{PASSWORD, Place, World};
use crate::AccountError;

pub(super) async fn logins(place: Place) {
    let world = World::new(&place);
    let registered = world.register("alice@example.com").await;
    let login = world
        .accounts
        .login("ALICE@example.com ", PASSWORD, None, None)
        .await
        .unwrap();
    assert_eq!(login.user.id, registered.user.id);
    assert_ne!(login.session_id, registered.session_id);
    assert_ne!(login.refresh_token, registered.refresh_token);
    assert_eq!(
        world.claims(&login.access_token)["sid"],
        login.session_id.as_str()
    );
    for (email, password) in [
        ("alice@example.com", "wrong horse"),
        ("alice@example.com", ""),
        ("bob@example.com", PASSWORD),
        ("nobody", PASSWORD),
    ] {
        let refused = world
            .accounts
            .login(email, password, None, None)
            .await
            .unwrap_err();
        assert_eq!(refused, AccountError::BadCredentials, "{email} {password}");
    }
    // The token has the claims that the verifier requires.
    let strict = World::with(&place, |options| {
        let signing = options.signing.as_mut().unwrap();
        (signing.issuer, signing.audience) = (Some("us".to_owned()), Some("you".to_owned()));
    });
    let login = strict
        .accounts
        .login("alice@example.com", PASSWORD, None, None)
        .await
        .unwrap();
    let claims = strict.claims(&login.access_token);
    assert_eq!((&claims["iss"], &claims["aud"]), (&"us".into(), &"you".into()));
    assert!(!claims.contains_key("name"));
}

pub(super) async fn refusals_take_the_same_time(place: Place) {
    let world = World::new(&place);
    world.register("alice@example.com").await;
    let bob = world.register("bob@example.com").await;
    world.accounts.set_disabled(&bob.user.id, true).await.unwrap();
    let cases = [
        ("alice@example.com", PASSWORD),
        ("alice@example.com", "wrong horse"),
        ("bob@example.com", PASSWORD),
        ("bob@example.com", "wrong horse"),
        ("nobody@example.com", PASSWORD),
    ];
    // Each login takes the time of exactly one hash.
    let checks = &world.accounts.inner.passwords.checks;
    for (number, (email, password)) in (1..).zip(cases) {
        let _ = world.accounts.login(email, password, None, None).await;
        assert_eq!(checks.load(Ordering::Relaxed), number, "{email} {password}");
    }
    // Without a hashing thread, no login is answered.
    world.accounts.inner.passwords.without_threads();
    for (email, password) in cases {
        let answer = world.accounts.login(email, password, None, None).await;
        assert_eq!(answer.unwrap_err(), AccountError::Busy, "{email} {password}");
    }
}

pub(super) async fn a_flood_does_not_reach_the_database(place: Place) {
    let world = World::with(&place, |options| options.password_threads = 1);
    world.register("alice@example.com").await;
    let mut places = Vec::new();
    while let Ok(place) = world.accounts.inner.passwords.place() {
        places.push(place);
    }
    world.accounts.storage().close().await;
    let login = || world.accounts.login("alice@example.com", PASSWORD, None, None);
    assert_eq!(login().await.unwrap_err(), AccountError::Busy);
    places.pop();
    assert!(matches!(login().await.unwrap_err(), AccountError::Storage(_)));
    let counts = world.accounts.logins().all();
    assert_eq!((counts[3], counts[4]), (("busy", 1), ("failed", 1)));
}

pub(super) async fn failures_are_limited(place: Place) {
    let world = World::with(&place, |options| {
        (options.attempts_per_account, options.attempts_per_address) = (3, 5);
    });
    world.register("alice@example.com").await;
    let client: IpAddr = "192.0.2.1".parse().unwrap();
    let login = async |email: &str, password: &str| {
        world
            .accounts
            .login(email, password, Some(client), None)
            .await
            .map(drop)
    };
    for _ in 0..5 {
        assert_eq!(
            login("alice@example.com", PASSWORD).await,
            Ok(()),
            "successes do not count"
        );
    }
    for email in ["alice@example.com", "nobody@example.com"] {
        for _ in 0..2 {
            assert_eq!(
                login(email, "wrong horse").await,
                Err(AccountError::BadCredentials)
            );
        }
    }
    let at_once = (0..10).map(|_| login("alice@example.com", "wrong horse"));
    let answers = futures_util::future::join_all(at_once).await;
    let tried = answers
        .iter()
        .filter(|answer| **answer == Err(AccountError::BadCredentials))
        .count();
    assert_eq!(tried, 1, "one try was left to the account and to the address");
    for email in ["alice@example.com", "carol@example.com"] {
        let refused = login(email, PASSWORD).await;
        assert!(
            matches!(refused, Err(AccountError::TooManyAttempts { .. })),
            "{email}"
        );
    }
    let elsewhere = world
        .accounts
        .login("carol@example.com", PASSWORD, None, None)
        .await;
    assert_eq!(elsewhere.unwrap_err(), AccountError::BadCredentials);
    let counts = world.accounts.logins().all();
    let expected = [("succeeded", 5), ("refused", 6), ("limited", 11)];
    assert_eq!(counts[..3], expected);
}

pub(super) async fn refreshing(place: Place) {
    let world = World::new(&place);
    let login = world.register("alice@example.com").await;
    let accounts = &world.accounts;

    world.pass(1000);
    let same = accounts.refresh(&login.refresh_token, false, None).await.unwrap();
    assert_eq!(
        (same.refresh_token, &same.session_id, &same.user),
        (login.refresh_token.clone(), &login.session_id, &login.user)
    );
    assert_ne!(same.access_token, login.access_token);

    let first = accounts.refresh(&login.refresh_token, true, None).await.unwrap();
    let next = first.refresh_token;
    world.pass(59);
    let again = accounts
        .refresh(&login.refresh_token, true, None)
        .await
        .unwrap()
        .refresh_token;
    for token in [&next, &again] {
        let answer = accounts.refresh(token, false, None).await.unwrap();
        assert_eq!(
            world.claims(&answer.access_token)["sid"],
            login.session_id.as_str()
        );
    }
    // Each rotation starts the session's lifetime again.
    world.pass(29 * 86_400);
    let later = accounts.refresh(&next, true, None).await.unwrap().refresh_token;
    world.pass(29 * 86_400);
    let last = accounts.refresh(&later, true, None).await.unwrap().refresh_token;
    world.pass(31 * 86_400);
    for token in [last.as_str(), "", "nonsense", &login.access_token] {
        assert_eq!(
            accounts.refresh(token, true, None).await.unwrap_err(),
            AccountError::BadToken,
            "{token}"
        );
    }
}

pub(super) async fn two_refreshes_at_once(place: Place) {
    let (here, there) = (World::new(&place), World::new(&place));
    let login = here.register("alice@example.com").await;
    let (one, other) = tokio::join!(
        here.accounts.refresh(&login.refresh_token, true, None),
        there.accounts.refresh(&login.refresh_token, true, None)
    );
    for answer in [one.unwrap(), other.unwrap()] {
        assert!(
            here.accounts
                .refresh(&answer.refresh_token, true, None)
                .await
                .is_ok()
        );
    }
}

pub(super) async fn replays(place: Place) {
    let world = World::new(&place);
    let login = world.register("alice@example.com").await;
    let mut feed = world.accounts.revocations().feed();
    let next = world
        .accounts
        .refresh(&login.refresh_token, true, None)
        .await
        .unwrap()
        .refresh_token;
    world.pass(61);
    for token in [&login.refresh_token, &next] {
        assert_eq!(
            world.accounts.refresh(token, true, None).await.unwrap_err(),
            AccountError::BadToken
        );
    }
    assert!(
        world
            .accounts
            .revocations()
            .is_refused(&login.user.id, Some(&login.session_id))
    );
    assert_eq!(
        feed.try_recv().unwrap(),
        crate::Revocation::Session(login.session_id.into())
    );
}

pub(super) async fn sessions_end(place: Place) {
    let world = World::new(&place);
    let login = world.register("alice@example.com").await;
    let other = world
        .accounts
        .login("alice@example.com", PASSWORD, None, None)
        .await
        .unwrap();
    assert_eq!(
        world.accounts.session(&login.session_id).await.unwrap().user_id,
        login.user.id
    );
    world.accounts.terminate(&login.session_id).await.unwrap();
    for id in [login.session_id.as_str(), "none"] {
        assert_eq!(
            world.accounts.terminate(id).await,
            Err(AccountError::NotFound("session"))
        );
        assert_eq!(
            world.accounts.session(id).await,
            Err(AccountError::NotFound("session"))
        );
    }
    let refused = |session: &str| {
        world
            .accounts
            .revocations()
            .is_refused(&login.user.id, Some(session))
    };
    assert_eq!(
        (refused(&login.session_id), refused(&other.session_id)),
        (true, false)
    );
    assert_eq!(
        world
            .accounts
            .refresh(&login.refresh_token, false, None)
            .await
            .unwrap_err(),
        AccountError::BadToken
    );
    assert!(
        world
            .accounts
            .refresh(&other.refresh_token, false, None)
            .await
            .is_ok()
    );
    assert_eq!(world.accounts.sessions(&login.user.id).await.unwrap().len(), 1);
}

pub(super) async fn a_login_that_waited_gets_the_current_roles(place: Place) {
    let world = World::new(&place);
    let accounts = &world.accounts;
    let registered = world.register("alice@example.com").await;
    let id = &registered.user.id;
    accounts
        .set_roles(id, &["admin".to_owned(), "user".to_owned()])
        .await
        .unwrap();
    let hash = accounts.storage().credentials("alice@example.com").await.unwrap();
    let hash = hash.unwrap().password;
    // By now the password has been checked.
    accounts.set_roles(id, &["user".to_owned()]).await.unwrap();
    let login = accounts.open_session(id, &hash, None).await.unwrap().unwrap();
    assert_eq!(login.user.roles, ["user"]);
    let claims = world.claims(&login.access_token);
    assert_eq!(claims["roles"], serde_json::json!(["user"]));
}

pub(super) async fn a_hash_that_was_replaced_meanwhile_does_not_refuse_a_login(place: Place) {
    let weak = World::new(&place);
    let id = weak.register("alice@example.com").await.user.id;
    let stronger = World::with(&place, |options| {
        options.hashing = argon2::Params::new(16, 2, 1, None).unwrap();
    });
    let logins = (0..8).map(|_| stronger.accounts.login("alice@example.com", PASSWORD, None, None));
    for login in futures_util::future::join_all(logins).await {
        assert_eq!(login.unwrap().user.id, id);
    }
}

pub(super) async fn a_token_does_not_outlive_its_session(place: Place) {
    let world = World::with(&place, |options| {
        (options.access_ttl, options.refresh_ttl) = (Duration::from_secs(3600), Duration::from_secs(5000));
    });
    let login = world.register("alice@example.com").await;
    let ends_at = |token: &str| world.claims(token)["exp"].as_u64().unwrap();
    let began = ends_at(&login.access_token) - 3600;
    world.pass(4000);
    let refreshed = world
        .accounts
        .refresh(&login.refresh_token, false, None)
        .await
        .unwrap();
    assert_eq!(
        (refreshed.expires_in, ends_at(&refreshed.access_token)),
        (1000, began + 5000)
    );
    let rotated = world
        .accounts
        .refresh(&login.refresh_token, true, None)
        .await
        .unwrap();
    assert_eq!(rotated.expires_in, 3600, "the session begins anew");
}

pub(super) async fn one_session_too_many_ends_the_one_least_used(place: Place) {
    let world = World::with(&place, |options| options.sessions_per_user = 2);
    let first = world.register("alice@example.com").await;
    let mut open = vec![first.session_id.clone()];
    for _ in 0..2 {
        world.pass(1);
        let login = world.accounts.login("alice@example.com", PASSWORD, None, None);
        open.push(login.await.unwrap().session_id);
    }
    let listed = world.accounts.sessions(&first.user.id).await.unwrap();
    let listed: Vec<_> = listed.into_iter().map(|session| session.id).collect();
    assert_eq!(listed, [open[2].clone(), open[1].clone()]);
    let revocations = world.accounts.revocations();
    assert!(revocations.is_refused(&first.user.id, Some(&open[0])));
    // With a lower limit all surplus sessions end, not only one.
    let stricter = World::with(&place, |options| options.sessions_per_user = 1);
    stricter.pass(10);
    let login = stricter.accounts.login("alice@example.com", PASSWORD, None, None);
    let last = login.await.unwrap().session_id;
    let left = stricter.accounts.sessions(&first.user.id).await.unwrap();
    assert_eq!(
        left.iter().map(|session| &session.id).collect::<Vec<_>>(),
        [&last]
    );
}

pub(super) async fn weak_hashes_are_replaced(place: Place) {
    let weak = World::new(&place);
    weak.register("alice@example.com").await;
    let strong = World::with(&place, |options| {
        options.hashing = argon2::Params::new(16, 1, 1, None).unwrap();
    });
    for _ in 0..2 {
        strong
            .accounts
            .login("alice@example.com", PASSWORD, None, None)
            .await
            .unwrap();
        let stored = strong
            .accounts
            .storage()
            .credentials("alice@example.com")
            .await
            .unwrap()
            .unwrap();
        assert!(stored.password.contains("m=16,"), "{}", stored.password);
    }
}

pub(super) async fn without_a_secret_no_user_can_log_in(place: Place) {
    let world = World::with(&place, |options| options.signing = None);
    let made = world
        .accounts
        .create_user("alice@example.com", PASSWORD, None, &[])
        .await
        .unwrap();
    assert!(made.roles.is_empty());
    for result in [
        world
            .accounts
            .login("alice@example.com", PASSWORD, None, None)
            .await,
        world
            .accounts
            .register("bob@example.com", PASSWORD, None, None, None)
            .await,
    ] {
        assert_eq!(result.unwrap_err(), AccountError::NotIssuing);
    }
    assert_eq!(
        world.accounts.refresh("x", true, None).await.unwrap_err(),
        AccountError::NotIssuing
    );
    assert_eq!(world.accounts.users("", 10).await.unwrap().len(), 1);
}
