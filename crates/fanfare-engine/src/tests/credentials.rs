//! Authentication while connected, and the expiry of credentials.

use std::time::Duration;

use fanfare_core::{Refusal, policy::PolicyOptions};
use serde_json::{Value, json};

use super::{
    plain::Plain,
    world::{Setup, World, in_world, rules, settings, token, until, who},
};
use crate::DialectSettings;

/// A lifetime that is long enough for a few commands.
const A_WHILE: Duration = Duration::from_millis(400);

fn auth(user: &str) -> String {
    format!("auth {}", token(user, 60, &Value::Null))
}

/// Returns a world whose connections pause at the expiry of their credentials.
pub(super) fn pausing(policy: PolicyOptions) -> Setup {
    Setup {
        dialects: vec![Plain {
            pauses: true,
            ..Plain::default()
        }],
        policy,
        ..Setup::default()
    }
}

#[test]
fn a_token_authenticates_its_user_or_is_refused() {
    in_world(settings(), |world| async move {
        let mut client = world.connect("").await;
        for (token, answer) in [
            ("nonsense".into(), "bad_credential"),
            (token("alice", 0, &Value::Null), "expired_credential"),
            (token("alice", 60, &Value::Null), "alice"),
            (token("alice", 90, &Value::Null), "alice"),
            (token("bob", 60, &Value::Null), "other_user"),
            (token("alice", 0, &Value::Null), "expired_credential"),
        ] {
            assert_eq!(
                client.ask(&format!("auth {token}")).await,
                format!("auth: {answer}")
            );
        }
        assert_eq!(client.ask("who").await, "who: alice");
        assert_eq!(
            world.node.connections_of("alice"),
            1,
            "however often it proves itself"
        );
        assert_eq!(world.publish("alice", "t", "1").await.reach.queued, 1);
    });
}

#[test]
fn a_dialect_admits_only_users_with_its_role() {
    let setup = Setup {
        dialects: vec![Plain {
            role: Some("staff"),
            ..Plain::default()
        }],
        settings: DialectSettings {
            max_connections_per_user: 1,
            ..settings()
        },
        ..Setup::default()
    };
    setup.run(|world| async move {
        let (mut one, mut two) = (world.connect("").await, world.connect("").await);
        let staff = |user| format!("auth {}", token(user, 60, &json!({"roles": ["staff"]})));
        assert_eq!(one.ask(&auth("alice")).await, "auth: forbidden");
        assert_eq!(one.ask(&staff("alice")).await, "auth: alice");
        assert_eq!(two.ask(&staff("alice")).await, "auth: user_at_capacity");
        assert_eq!(two.ask(&staff("bob")).await, "auth: bob");
    });
}

#[test]
fn a_pattern_shows_the_users_events_once_the_user_is_authenticated() {
    let setup = Setup {
        dialects: vec![Plain::by_subscription()],
        ..Setup::default()
    };
    setup.run(|world| async move {
        let mut alice = world.connect("").await;
        assert_eq!(alice.ask("sub user:*").await, "sub: ok");
        assert_eq!(world.publish("alice", "t", "1").await.reach.matched, 0);
        assert_eq!(alice.ask(&auth("alice")).await, "auth: alice");
        assert_eq!(world.publish("alice", "t", "2").await.reach.queued, 1);
        alice.receives(&["2"]).await;
    });
}

/// `alice` with some subscriptions, her credential over.
async fn expired(world: &World, user: &str, asked: &str) -> super::client::Client {
    let mut alice = world.connect_for(user, A_WHILE).await;
    for asked in asked.split(';') {
        let answer = alice.ask(asked).await;
        assert!(!answer.contains("forbidden"), "{asked}: {answer}");
    }
    alice.receives(&["expired"]).await;
    alice
}

#[test]
fn events_pause_until_the_same_user_authenticates_again() {
    pausing(rules(&[])).run(|world| async move {
        let mut alice = expired(&world, "alice", "sub a b.*;join project:1").await;
        let told = async |data: &str| {
            let events = [("alice", 0), ("*", 0)].map(|(to, _)| world.publish(to, "t", data));
            let [user, everyone] = events;
            let direct = (user.await.reach.matched, everyone.await.reach.matched);
            let channels = (
                world.publish_on("a", data).await,
                world.publish_on("b.c", data).await,
            );
            (direct, channels, world.publish_on("project:1", data).await)
        };
        assert_eq!(told("1").await, ((0, 0), (0, 0), 0));
        assert_eq!(alice.ask("who").await, "who: nobody");
        assert_eq!(alice.ask(&auth("bob")).await, "auth: other_user");
        assert_eq!(alice.ask("auth nonsense").await, "auth: bad_credential");
        assert_eq!(told("2").await, ((0, 0), (0, 0), 0));
        assert_eq!(alice.ask(&auth("alice")).await, "auth: alice");
        assert_eq!(alice.ask("join project:1").await, "join: ok");
        assert_eq!(told("3").await, ((1, 1), (1, 1), 1));
        alice.receives(&["3", "3", "3", "3", "3"]).await;
        alice.receives_no_more().await;
    });
}

#[test]
fn a_new_credential_ends_the_subscriptions_that_it_does_not_allow() {
    let policy = rules(&[("staff.**", "role:staff", "anyone")]);
    pausing(policy).run(|world| async move {
        let mut alice = expired(&world, "alice+staff", "sub staff.a a staff.*;sub project:1").await;
        let claims = json!({"rooms": ["project:2"]});
        let renewed = format!("auth {}", token("alice", 60, &claims));
        assert_eq!(alice.ask(&renewed).await, "auth: alice");
        for (channel, heard) in [("staff.a", 0), ("staff.b", 0), ("project:1", 0), ("a", 1)] {
            assert_eq!(world.publish_on(channel, "1").await, heard, "{channel}");
        }
        assert_eq!(alice.text().await, "1");
        assert_eq!(alice.ask("sub staff.a project:2").await, "sub: forbidden ok");
    });
}

#[test]
fn a_room_that_a_new_credential_does_not_allow_is_left() {
    pausing(rules(&[])).run(|world| async move {
        let mut alice = expired(&world, "alice", "join project:1").await;
        let closed = format!("auth {}", token("alice", 60, &json!({"rooms": []})));
        assert_eq!(alice.ask(&closed).await, "auth: alice");
        world.has_rooms(0).await;
        assert_eq!(
            alice.ask("pub-member project:1 1").await,
            "pub-member: not_member"
        );
    });
}

#[test]
fn a_renewed_credential_has_a_new_expiry() {
    pausing(rules(&[])).run(|world| async move {
        let mut alice = world.connect_for("alice", A_WHILE).await;
        let short = format!("auth {}", token("alice", 1, &Value::Null));
        assert_eq!(alice.ask(&short).await, "auth: alice");
        alice.receives(&["expired"]).await;
        assert_eq!(alice.ask(&auth("alice")).await, "auth: alice");
        assert_eq!(world.publish("alice", "t", "1").await.reach.queued, 1);
    });
}

#[test]
fn an_expired_user_has_the_rights_of_an_anonymous_one() {
    let policy = rules(&[("staff.**", "role:staff", "role:staff")]);
    pausing(policy).run(|world| async move {
        let mut alice = expired(&world, "alice+staff", "join project:1").await;
        for (asked, answer) in [
            ("pub staff.a 1", "pub: forbidden"),
            ("pub-member project:1 1", "pub-member: forbidden"),
            ("direct alice 1", "direct: forbidden"),
            ("sub staff.a", "sub: forbidden"),
            ("sub user:alice", "sub: forbidden"),
            ("join project:2", "join: forbidden"),
            ("leave project:1", "leave: ok"),
        ] {
            assert_eq!(alice.ask(asked).await, answer, "{asked}");
        }
    });
}

#[test]
fn a_revoked_credential_ends_its_connections_and_opens_none() {
    in_world(settings(), |world| async move {
        let of_session = json!({"session": "one"});
        let authenticate = format!("auth {}", token("alice", 60, &of_session));
        let (mut alice, mut bob) = (world.connect("").await, world.connect("bob").await);
        assert_eq!(alice.ask(&authenticate).await, "auth: alice");
        // The credential is revoked while the connection waits for the broker.
        let mut late = world.connect("").await;
        world.broker.confirms.shut();
        let other = token("carol", 60, &of_session);
        late.say(&format!("auth {other}")).await;
        until(|| world.waiting() == 1).await;
        world.revoke("one");
        world.broker.confirm();
        late.receives(&["auth: bad_credential"]).await;
        assert_eq!(alice.close().await, (1008, "session_terminated".into()));
        assert_eq!(bob.ask("hello").await, "hello");
        let mut identity = who("alice", Duration::from_secs(60)).unwrap();
        identity.session = Some("one".into());
        let guard = world.reserve_on(0, Some(identity)).await;
        assert_eq!(guard.err(), Some(Refusal::BadCredential));
    });
}
