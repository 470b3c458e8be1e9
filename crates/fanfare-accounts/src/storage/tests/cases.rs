//! The operations on each table.

use std::collections::HashSet;

use serde_json::value::RawValue;

use super::Place;
use crate::storage::{
    Message, NewSession, NewToken, Redeemed, Redemption, Storage, StorageError, StoredKey, User, new_id,
};

const DAY: i64 = 86_400_000;
const GRACE: i64 = 60_000;

pub(super) async fn add(storage: &Storage, email: &str, now: i64) -> Result<User, StorageError> {
    let user = User {
        id: new_id(),
        email: email.to_owned(),
        name: Some("Ä \"name\"".to_owned()),
        roles: vec!["user".to_owned()],
        created_at: now,
        last_login_at: None,
        disabled_at: None,
    };
    storage.insert_user(&user, "hash").await.map(|()| user)
}

pub(super) async fn open(
    storage: &Storage,
    user: &str,
    token: &str,
    now: i64,
) -> Option<(String, Vec<String>)> {
    let id = new_id();
    let session = NewSession {
        id: id.clone(),
        user_id: user.to_owned(),
        password: "hash".to_owned(),
        user_agent: Some("curl".to_owned()),
        token: NewToken {
            hash: token.to_owned(),
            expires_at: now + DAY,
        },
        most: 100,
    };
    let (_, ended) = storage.open_session(session, now).await.unwrap()?;
    Some((id, ended))
}

pub(super) async fn set_password(
    storage: &Storage,
    user: &str,
    hash: &str,
    now: i64,
) -> Result<Option<Vec<String>>, StorageError> {
    storage.change_password(user, None, hash, None, now).await
}

async fn redeem(storage: &Storage, token: &str, by: Option<&str>, now: i64) -> Redeemed {
    let rotation = by.map(|hash| NewToken {
        hash: hash.to_owned(),
        expires_at: now + DAY,
    });
    let offered = Redemption {
        token_hash: token.to_owned(),
        rotation,
        grace: GRACE,
    };
    storage.redeem(offered, now).await.unwrap()
}

pub(super) async fn users(place: Place) {
    let storage = place.storage();
    let alice = add(&storage, "alice@example.com", 1000).await.unwrap();
    assert_eq!(
        add(&storage, "alice@example.com", 1001).await,
        Err(StorageError::Conflict)
    );
    let bob = add(&storage, "bob@example.com", 1002).await.unwrap();

    assert_eq!(storage.user(&alice.id).await.unwrap().as_ref(), Some(&alice));
    let found = storage.credentials("alice@example.com").await.unwrap().unwrap();
    assert_eq!((found.user, found.password.as_str()), (alice.clone(), "hash"));
    assert!(storage.user("nobody").await.unwrap().is_none());
    assert!(storage.credentials("Alice@example.com").await.unwrap().is_none());
    assert_eq!(storage.users("", 10).await.unwrap(), [alice.clone(), bob.clone()]);
    assert_eq!(
        storage.users(&alice.id, 1).await.unwrap(),
        std::slice::from_ref(&bob)
    );

    let admin = ["admin".to_owned(), "a \"b\"".to_owned()];
    assert_eq!(
        storage.set_roles(&alice.id, &admin, 1003).await,
        Ok(Some(Vec::new()))
    );
    assert_eq!(
        storage.set_disabled(&bob.id, true, 1004).await,
        Ok(Some(Vec::new()))
    );
    assert_eq!(storage.set_disabled("nobody", true, 1004).await, Ok(None));
    assert_eq!(storage.user(&alice.id).await.unwrap().unwrap().roles, admin);
    assert_eq!(
        storage.user(&bob.id).await.unwrap().unwrap().disabled_at,
        Some(1004)
    );
    assert_eq!(
        storage.switched_users(1004).await.unwrap(),
        [(bob.id.clone(), true)]
    );
    assert_eq!(storage.switched_users(1005).await.unwrap(), []);
    storage.set_disabled(&bob.id, false, 1006).await.unwrap();
    assert_eq!(storage.switched_users(0).await.unwrap(), [(bob.id, false)]);

    storage.replace_hash(&alice.id, "other", "new").await.unwrap();
    assert_eq!(
        storage.credentials(&alice.email).await.unwrap().unwrap().password,
        "hash"
    );
    storage.replace_hash(&alice.id, "hash", "new").await.unwrap();
    assert_eq!(
        storage.credentials(&alice.email).await.unwrap().unwrap().password,
        "new"
    );
}

pub(super) async fn one_of_two_registrations(place: Place) {
    let (one, other) = (place.storage(), place.storage());
    for round in 0..10 {
        let email = format!("{round}@example.com");
        let (first, second) = tokio::join!(add(&one, &email, 1), add(&other, &email, 1));
        assert_eq!(first.is_ok(), second.is_err(), "{first:?} {second:?}");
        assert_eq!(first.err().or(second.err()), Some(StorageError::Conflict));
    }
}

pub(super) async fn sessions(place: Place) {
    let storage = place.storage();
    let alice = add(&storage, "alice@example.com", 0).await.unwrap();
    let (first, _) = open(&storage, &alice.id, "a", 10).await.unwrap();
    let (second, _) = open(&storage, &alice.id, "b", 20).await.unwrap();
    assert_eq!(
        storage.user(&alice.id).await.unwrap().unwrap().last_login_at,
        Some(20)
    );
    assert!(open(&storage, "nobody", "c", 20).await.is_none());

    let found = storage.session(&first, 30).await.unwrap().unwrap();
    assert_eq!(
        (
            found.user_id.as_str(),
            found.user_agent.as_deref(),
            found.created_at,
            found.expires_at
        ),
        (alice.id.as_str(), Some("curl"), 10, 10 + DAY)
    );
    let ids = async |now| -> Vec<String> {
        let all = storage.sessions_of(&alice.id, now).await.unwrap();
        all.into_iter().map(|session| session.id).collect()
    };
    assert_eq!(ids(30).await, [second.clone(), first.clone()]);
    assert_eq!(ids(10 + DAY).await, std::slice::from_ref(&second));

    assert_eq!(storage.end_session(&first, 40).await, Ok(true));
    assert_eq!(storage.end_session(&first, 41).await, Ok(false));
    assert_eq!(storage.end_session("none", 41).await, Ok(false));
    assert!(storage.session(&first, 42).await.unwrap().is_none());
    assert_eq!(redeem(&storage, "a", None, 42).await, Redeemed::Refused);
    assert_eq!(storage.ended_sessions(40).await.unwrap(), [(first, 40)]);
    assert_eq!(storage.ended_sessions(41).await.unwrap(), []);

    // A new password, or the end of the account, ends all sessions.
    assert_eq!(
        storage.set_disabled(&alice.id, true, 50).await,
        Ok(Some(vec![second]))
    );
    assert!(open(&storage, &alice.id, "d", 60).await.is_none());
    storage.set_disabled(&alice.id, false, 70).await.unwrap();
    let (third, _) = open(&storage, &alice.id, "e", 80).await.unwrap();
    assert_eq!(
        set_password(&storage, &alice.id, "other", 90).await,
        Ok(Some(vec![third]))
    );
    assert!(
        open(&storage, &alice.id, "f", 100).await.is_none(),
        "the hash is another now"
    );

    assert_eq!(storage.forget_sessions(11 + DAY).await, Ok(1));
    assert_eq!(storage.forget_sessions(11 + 2 * DAY).await, Ok(2));
}

pub(super) async fn refreshing(place: Place) {
    let storage = place.storage();
    let alice = add(&storage, "alice@example.com", 0).await.unwrap();
    let (id, _) = open(&storage, &alice.id, "a", 0).await.unwrap();
    let good = |found: Redeemed| matches!(found, Redeemed::Good(session, _, user) if session == id && user.id == alice.id);

    assert!(good(redeem(&storage, "a", None, 10).await));
    assert!(
        good(redeem(&storage, "a", None, 20).await),
        "it stays where it is not rotated"
    );
    assert_eq!(redeem(&storage, "unknown", None, 20).await, Redeemed::Refused);
    assert!(good(redeem(&storage, "a", Some("b"), 30).await));
    assert!(
        good(redeem(&storage, "a", Some("c"), 30 + GRACE).await),
        "within the grace"
    );
    for token in ["b", "c"] {
        assert!(good(redeem(&storage, token, None, 40).await), "{token}");
    }
    assert_eq!(
        storage.session(&id, 50).await.unwrap().unwrap().expires_at,
        30 + GRACE + DAY
    );
    assert_eq!(
        redeem(&storage, "b", None, 30 + DAY).await,
        Redeemed::Refused,
        "it has expired"
    );
    storage.set_disabled(&alice.id, true, 60).await.unwrap();
    assert_eq!(redeem(&storage, "c", None, 70).await, Redeemed::Refused);
}

pub(super) async fn replays(place: Place) {
    let storage = place.storage();
    let alice = add(&storage, "alice@example.com", 0).await.unwrap();
    let (id, _) = open(&storage, &alice.id, "a", 0).await.unwrap();
    redeem(&storage, "a", Some("b"), 10).await;
    redeem(&storage, "a", Some("c"), 20).await; // does not begin the grace again
    let late = 11 + GRACE;
    assert_eq!(
        redeem(&storage, "a", None, late).await,
        Redeemed::Replayed(id.clone())
    );
    assert_eq!(redeem(&storage, "a", None, late).await, Redeemed::Refused);
    for token in ["b", "c"] {
        assert_eq!(
            redeem(&storage, token, Some("d"), late).await,
            Redeemed::Refused,
            "{token}"
        );
    }
    assert_eq!(storage.ended_sessions(0).await.unwrap(), [(id, late)]);
}

pub(super) async fn two_refreshes_at_once(place: Place) {
    let (one, other) = (place.storage(), place.storage());
    let alice = add(&one, "alice@example.com", 0).await.unwrap();
    for round in 0..10 {
        let names = ["", "-b", "-c"].map(|suffix| format!("{round}{suffix}"));
        let (id, _) = open(&one, &alice.id, &names[0], 0).await.unwrap();
        let (first, second) = tokio::join!(
            redeem(&one, &names[0], Some(&names[1]), 10),
            redeem(&other, &names[0], Some(&names[2]), 10)
        );
        for found in [first, second] {
            assert!(matches!(found, Redeemed::Good(session, _, _) if session == id));
        }
        for name in &names[1..] {
            assert!(
                matches!(redeem(&other, name, None, 20).await, Redeemed::Good(..)),
                "{name}"
            );
        }
    }
}

/// Either the login is first and its session is ended, or it finds the new password.
pub(super) async fn logins_while_the_password_changes(place: Place) {
    let (one, other) = (place.storage(), place.storage());
    for round in 0..10 {
        let user = add(&one, &format!("{round}@example.com"), 0).await.unwrap();
        let token = format!("t{round}");
        let (opened, ended) = tokio::join!(
            open(&one, &user.id, &token, 10),
            set_password(&other, &user.id, "new", 10)
        );
        let opened: Vec<String> = opened.into_iter().map(|(id, _)| id).collect();
        assert_eq!(ended.unwrap(), Some(opened));
        assert!(one.sessions_of(&user.id, 20).await.unwrap().is_empty());
    }
}

pub(super) async fn too_many_sessions(place: Place) {
    let storage = place.storage();
    let alice = add(&storage, "alice@example.com", 0).await.unwrap();
    let mut opened = Vec::new();
    for round in 0..102 {
        let (id, ended) = open(&storage, &alice.id, &format!("t{round}"), round)
            .await
            .unwrap();
        opened.push(id);
        let over = usize::try_from(round).unwrap().checked_sub(100);
        assert_eq!(
            ended,
            over.map(|at| opened[at].clone()).into_iter().collect::<Vec<_>>(),
            "{round}"
        );
    }
    assert_eq!(storage.sessions_of(&alice.id, 200).await.unwrap().len(), 100);
}

async fn write(
    storage: &Storage,
    from: &str,
    to: Option<&str>,
    channel: Option<&str>,
    content: &str,
) -> Message {
    let message = Message {
        id: new_id(),
        user_id: from.to_owned(),
        recipient_id: to.map(str::to_owned),
        channel_id: channel.map(str::to_owned),
        content: content.to_owned(),
        attachments: RawValue::from_string("[ {\"a\":1.0} ]".to_owned()).unwrap(),
        created_at: 5,
        updated_at: 5,
    };
    storage.insert_message(&message).await.unwrap();
    message
}

async fn read(storage: &Storage, by: Option<&str>, before: Option<&str>, limit: u32) -> Vec<String> {
    let found = storage.messages(by, before, limit).await.unwrap();
    found.into_iter().map(|message| message.content).collect()
}

pub(super) async fn messages(place: Place) {
    let storage = place.storage();
    let first = write(&storage, "alice", None, None, "to all").await;
    write(&storage, "alice", Some("bob"), None, "to bob").await;
    let third = write(
        &storage,
        "bob",
        Some("alice"),
        Some("general"),
        "to alice, 'in' a \"channel\" 🎉",
    )
    .await;
    write(&storage, "bob", None, Some("general"), "in a channel").await;

    let all = [
        "in a channel",
        "to alice, 'in' a \"channel\" 🎉",
        "to bob",
        "to all",
    ];
    for reader in [None, Some("alice"), Some("bob")] {
        assert_eq!(read(&storage, reader, None, 10).await, all, "{reader:?}");
    }
    assert_eq!(
        read(&storage, Some("carol"), None, 10).await,
        ["in a channel", "to all"]
    );
    assert_eq!(read(&storage, None, None, 2).await, all[..2]);
    assert_eq!(read(&storage, Some("bob"), Some(&third.id), 1).await, ["to bob"]);
    assert_eq!(
        read(&storage, Some("alice"), Some(&first.id), 10).await,
        Vec::<String>::new()
    );
    let found = storage.messages(None, None, 4).await.unwrap();
    let found = found.iter().find(|message| message.id == third.id).unwrap();
    assert_eq!(
        (
            found.recipient_id.as_deref(),
            found.channel_id.as_deref(),
            found.attachments.get(),
            found.updated_at
        ),
        (Some("alice"), Some("general"), "[ {\"a\":1.0} ]", 5)
    );
}

pub(super) async fn unpublished_messages(place: Place) {
    let storage = place.storage();
    let one = write(&storage, "alice", None, None, "one").await;
    let two = write(&storage, "alice", None, None, "two").await;
    let ids = async |until, limit| -> Vec<String> {
        let found = storage.unpublished_messages(until, limit).await.unwrap();
        found.into_iter().map(|message| message.id).collect()
    };
    assert_eq!(ids(4, 10).await, Vec::<String>::new(), "written later");
    assert_eq!(ids(5, 10).await, [one.id.clone(), two.id.clone()]);
    assert_eq!(ids(5, 1).await, std::slice::from_ref(&one.id));
    storage.mark_published(&one.id, 6).await.unwrap();
    storage.mark_published("none", 6).await.unwrap();
    assert_eq!(ids(5, 10).await, [two.id]);
}

pub(super) async fn keys(place: Place) {
    let storage = place.storage();
    let key = StoredKey {
        id: new_id(),
        name: "back end".to_owned(),
        hash: "h".to_owned(),
        scopes: vec!["publish".to_owned()],
        created_at: 1,
        revoked_at: None,
        last_used_at: None,
    };
    storage.insert_key(&key).await.unwrap();
    let again = StoredKey {
        id: new_id(),
        ..key.clone()
    };
    assert_eq!(storage.insert_key(&again).await, Err(StorageError::Conflict));
    assert_eq!(storage.keys().await.unwrap(), std::slice::from_ref(&key));
    for (at, last) in [(5, 5), (4, 5), (6, 6)] {
        storage.key_used(&key.id, at).await.unwrap();
        assert_eq!(storage.keys().await.unwrap()[0].last_used_at, Some(last));
    }
    storage.key_used("none", 7).await.unwrap();
    assert_eq!(storage.revoke_key(&key.id, 2).await, Ok(true));
    assert_eq!(storage.revoke_key(&key.id, 3).await, Ok(false));
    assert_eq!(storage.revoke_key("none", 3).await, Ok(false));
    assert_eq!(storage.keys().await.unwrap()[0].revoked_at, Some(2));
    let ids: HashSet<String> = (0..1000).map(|_| new_id()).collect();
    assert_eq!(ids.len(), 1000);
}
