//! Accounts and API keys.

use super::{PASSWORD, Place, World};
use crate::{AccountError, KeyNeed, Scope};

pub(super) async fn registration(place: Place) {
    let world = World::new(&place);
    let login = world
        .accounts
        .register(
            " Alice@Example.com",
            PASSWORD,
            Some(" Alice "),
            None,
            Some("curl\n/8"),
        )
        .await
        .unwrap();
    let user = &login.user;
    assert_eq!(
        (
            user.email.as_str(),
            user.name.as_deref(),
            user.roles.as_slice(),
            user.disabled_at
        ),
        ("alice@example.com", Some("Alice"), &["user".to_owned()][..], None)
    );
    let claims = world.claims(&login.access_token);
    assert_eq!(
        (&claims["sub"], &claims["sid"]),
        (&user.id.as_str().into(), &login.session_id.as_str().into())
    );
    assert_eq!(
        (&claims["name"], &claims["roles"], &claims["email"]),
        (&"Alice".into(), &["user"][..].into(), &"alice@example.com".into())
    );
    assert_eq!(login.expires_in, 3600);
    assert_eq!(world.accounts.user(&user.id).await.as_ref(), Ok(user));
    assert_eq!(
        world.accounts.sessions(&user.id).await.unwrap()[0]
            .user_agent
            .as_deref(),
        Some("curl/8")
    );
    assert!(!format!("{login:?}").contains(&login.refresh_token));

    let again = world
        .accounts
        .register("ALICE@example.com", PASSWORD, None, None, None)
        .await;
    assert_eq!(again.unwrap_err(), AccountError::Taken);
    let other = World::new(&place);
    let (one, two) = tokio::join!(
        world
            .accounts
            .register("bob@example.com", PASSWORD, None, None, None),
        other
            .accounts
            .register("Bob@Example.com", PASSWORD, None, None, None)
    );
    assert_eq!(one.is_ok(), two.is_err());
    assert_eq!(one.err().or(two.err()), Some(AccountError::Taken));
}

pub(super) async fn what_is_refused(place: Place) {
    let world = World::new(&place);
    let check = async |email: &str, password: &str, name: Option<&str>, field: &str| {
        let refused = world
            .accounts
            .register(email, password, name, None, None)
            .await
            .unwrap_err();
        assert!(
            matches!(refused, AccountError::Bad { field: found, .. } if found == field),
            "{refused}"
        );
    };
    check("nobody", PASSWORD, None, "email").await;
    check("a@example.com", "1234567", None, "password").await;
    check("a@example.com", &"x".repeat(1025), None, "password").await;
    check("a@example.com", PASSWORD, Some("a\0b"), "name").await;
    check("a@example.com", PASSWORD, Some(&"x".repeat(201)), "name").await;
    assert_eq!(world.accounts.users("", 10).await, Ok(Vec::new()));

    let closed = World::with(&place, |options| options.registration_is_open = false);
    let refused = closed
        .accounts
        .register("a@example.com", PASSWORD, None, None, None)
        .await
        .unwrap_err();
    assert_eq!(refused, AccountError::Closed);
    let roles = ["admin".to_owned(), "user".to_owned(), "admin".to_owned()];
    let made = closed
        .accounts
        .create_user("a@example.com", PASSWORD, None, &roles)
        .await
        .unwrap();
    assert_eq!(made.roles, roles[..2]);
    let spaced = closed
        .accounts
        .create_user("b@example.com", PASSWORD, None, &["a b".to_owned()])
        .await;
    assert!(matches!(spaced, Err(AccountError::Bad { field: "role", .. })));
    assert!(
        closed
            .accounts
            .login("a@example.com", PASSWORD, None, None)
            .await
            .is_ok()
    );
}

pub(super) async fn administration(place: Place) {
    let world = World::new(&place);
    let login = world.register("alice@example.com").await;
    let (id, accounts) = (login.user.id.as_str(), &world.accounts);
    assert_eq!(accounts.user_by_email("Alice@example.com").await.unwrap().id, id);
    assert_eq!(
        accounts.user_by_email("bob@example.com").await,
        Err(AccountError::NotFound("user"))
    );
    let refused = |login: &crate::Login| accounts.revocations().is_refused(id, Some(&login.session_id));

    // An added role takes effect at the next refresh.
    accounts
        .set_roles(id, &["user".to_owned(), "admin".to_owned()])
        .await
        .unwrap();
    assert!(!refused(&login));
    let refreshed = accounts.refresh(&login.refresh_token, false, None).await.unwrap();
    let roles = &world.claims(&refreshed.access_token)["roles"];
    assert!(roles.as_array().unwrap().contains(&"admin".into()));
    // A removed role takes effect at once.
    accounts.set_roles(id, &["user".to_owned()]).await.unwrap();
    assert!(refused(&login));

    let login = accounts
        .login("alice@example.com", PASSWORD, None, None)
        .await
        .unwrap();
    accounts.set_password(id, "another password").await.unwrap();
    assert!(refused(&login));
    assert_eq!(
        accounts
            .login("alice@example.com", PASSWORD, None, None)
            .await
            .unwrap_err(),
        AccountError::BadCredentials
    );
    let login = accounts
        .login("alice@example.com", "another password", None, None)
        .await
        .unwrap();

    accounts.set_disabled(id, true).await.unwrap();
    assert!(refused(&login) && accounts.revocations().is_refused(id, None));
    assert_eq!(
        accounts
            .refresh(&login.refresh_token, true, None)
            .await
            .unwrap_err(),
        AccountError::BadToken
    );
    let disabled = accounts
        .login("alice@example.com", "another password", None, None)
        .await;
    assert_eq!(disabled.unwrap_err(), AccountError::BadCredentials);
    accounts.set_disabled(id, false).await.unwrap();
    assert!(
        refused(&login) && !accounts.revocations().is_refused(id, None),
        "the session stays ended"
    );
    assert!(
        accounts
            .login("alice@example.com", "another password", None, None)
            .await
            .is_ok()
    );

    for result in [
        accounts.set_disabled("none", true).await,
        accounts.set_roles("none", &[]).await,
        accounts.set_password("none", PASSWORD).await,
    ] {
        assert_eq!(result, Err(AccountError::NotFound("user")));
    }
    assert!(!accounts.revocations().is_refused("none", None));
}

pub(super) async fn api_keys(place: Place) {
    let (here, there) = (World::new(&place), World::new(&place));
    assert_eq!(here.accounts.key_need(), KeyNeed::Unknown);
    here.accounts.reload().await.unwrap();
    assert_eq!(here.accounts.key_need(), KeyNeed::No);
    let (text, key) = here
        .accounts
        .create_key(" back end ", &[Scope::Publish])
        .await
        .unwrap();
    assert_eq!(
        (key.name.as_str(), key.scopes.as_slice()),
        ("back end", &["publish".to_owned()][..])
    );
    assert!(!format!("{key:?}").contains(&key.hash));
    let found = here.accounts.api_key(&text).unwrap();
    assert_eq!(
        (
            found.id == key.id,
            found.allows(Scope::Publish),
            found.allows(Scope::Read),
            found.allows(Scope::Admin)
        ),
        (true, true, false, false)
    );
    for wrong in [
        "",
        "ff_",
        &text[..45],
        &format!("{text}x"),
        &text.to_lowercase(),
        &key.hash,
        &format!("ff_{}", key.hash),
    ] {
        assert!(here.accounts.api_key(wrong).is_none(), "{wrong}");
    }
    assert!(there.accounts.api_key(&text).is_none());
    there.accounts.reload().await.unwrap();
    assert!(there.accounts.api_key(&text).is_some());
    assert_eq!(here.accounts.key_need(), KeyNeed::Yes);
    assert_eq!(there.accounts.key_need(), KeyNeed::Yes);

    let (admin, _) = here.accounts.create_key("admin", &[Scope::Admin]).await.unwrap();
    let admin = here.accounts.api_key(&admin).unwrap();
    assert!(Scope::ALL.into_iter().all(|scope| admin.allows(scope)));
    here.accounts.revoke_key(&key.id).await.unwrap();
    assert_eq!(
        here.accounts.revoke_key(&key.id).await,
        Err(AccountError::NotFound("API key"))
    );
    assert!(here.accounts.api_key(&text).is_none());
    there.accounts.reload().await.unwrap();
    assert!(there.accounts.api_key(&text).is_none());
    assert_eq!(here.accounts.keys().await.unwrap().len(), 2);
    for (name, scopes, field) in [
        ("", &Scope::ALL[..], "name"),
        ("a\nb", &Scope::ALL, "name"),
        ("a", &[], "scopes"),
    ] {
        let refused = here.accounts.create_key(name, scopes).await;
        assert!(matches!(refused, Err(AccountError::Bad { field: found, .. }) if found == field));
    }
}

pub(super) async fn a_key_is_still_needed_after_its_revocation(place: Place) {
    let here = World::new(&place);
    let (_, key) = here.accounts.create_key("only", &[Scope::Publish]).await.unwrap();
    here.accounts.revoke_key(&key.id).await.unwrap();
    assert_eq!(here.accounts.key_need(), KeyNeed::Yes);
    // A process that starts later needs the same.
    let there = World::new(&place);
    there.accounts.reload().await.unwrap();
    assert_eq!(there.accounts.key_need(), KeyNeed::Yes);
}

pub(super) async fn the_last_use_of_a_key_is_written_to_the_minute(place: Place) {
    let (here, there) = (World::new(&place), World::new(&place));
    let (text, _) = here.accounts.create_key("used", &[Scope::Publish]).await.unwrap();
    let written = async || {
        here.accounts.write_key_uses().await.unwrap();
        here.accounts.reload().await.unwrap();
        here.accounts.keys().await.unwrap()[0].last_used_at
    };
    assert_eq!(written().await, None);
    let first = here.accounts.now();
    here.accounts.api_key(&text).unwrap();
    here.accounts.reload().await.unwrap(); // which does not forget the use
    assert_eq!(written().await, Some(first));
    here.pass(59);
    here.accounts.api_key(&text).unwrap();
    assert_eq!(written().await, Some(first), "no write for each use");
    here.pass(1);
    let second = here.accounts.now();
    here.accounts.api_key(&text).unwrap();
    assert_eq!(written().await, Some(second));
    // Another node with an earlier use does not overwrite it.
    there.accounts.reload().await.unwrap();
    there.accounts.api_key(&text).unwrap();
    there.accounts.write_key_uses().await.unwrap();
    assert_eq!(written().await, Some(second));
}
