//! Subscriptions with their own credential, and events without echo.

use fanfare_core::{
    Channel, Event, UserId,
    policy::{PolicyOptions, RoomAccess},
};
use serde_json::{Value, json};

use super::{
    fakes::FakeAuthorizer,
    world::{Setup, in_world, on, rules, settings, token, until},
};
use crate::DialectSettings;

/// Returns a world whose rooms need a credential.
fn closed() -> Setup {
    Setup {
        policy: PolicyOptions {
            rooms: RoomAccess::Nobody,
            ..rules(&[("project:9", "nobody", "nobody")])
        },
        ..Setup::default()
    }
}

fn of(user: &str, room: &str, seconds: u64) -> String {
    token(user, seconds, &json!({ "rooms": [room] }))
}

#[test]
fn a_subscriptions_credential_allows_one_channel() {
    closed().run(|world| async move {
        let (mut alice, mut nobody) = (world.connect("alice").await, world.connect("").await);
        assert_eq!(alice.ask("sub project:1").await, "sub: forbidden");
        for (channel, credential, answer) in [
            ("project:1", "nonsense".to_owned(), "bad_credential"),
            ("project:1", of("alice", "project:1", 0), "expired_credential"),
            ("project:1", of("bob", "project:1", 60), "other_user"),
            ("project:1", of("alice", "project:2", 60), "forbidden"),
            ("project:9", of("alice", "project:9", 60), "forbidden"),
            ("project:1", of("alice", "project:1", 60), "ok"),
            ("project:1", of("alice", "project:1", 90), "ok"),
        ] {
            let asked = format!("sub-by {channel} {credential}");
            assert_eq!(alice.ask(&asked).await, format!("sub-by: {answer}"));
        }
        let asked = format!("sub-by project:1 {}", of("alice", "project:1", 60));
        assert_eq!(nobody.ask(&asked).await, "sub-by: other_user");
        assert_eq!(world.publish_on("project:1", "1").await, 1);
        alice.receives(&["1"]).await;
        // A new credential of the connection does not end the subscription.
        let own = format!("auth {}", token("alice", 60, &Value::Null));
        assert_eq!(alice.ask(&own).await, "auth: alice");
        assert_eq!(world.publish_on("project:1", "2").await, 1);
        alice.receives(&["2"]).await;
        assert_eq!(alice.ask("unsub project:1").await, "unsub: ok");
        assert_eq!(world.publish_on("project:1", "3").await, 0);
    });
}

#[test]
fn a_subscription_ends_with_its_credential() {
    closed().run(|world| async move {
        let mut alice = world.connect("alice").await;
        for channel in ["project:1", "project:2"] {
            let seconds = if channel == "project:1" { 2 } else { 60 };
            let asked = format!("sub-by {channel} {}", of("alice", channel, seconds));
            assert_eq!(alice.ask(&asked).await, "sub-by: ok");
        }
        alice.receives(&["lapsed project:1"]).await;
        assert_eq!(world.publish_on("project:1", "1").await, 0);
        assert_eq!(world.publish_on("project:2", "2").await, 1);
        alice.receives(&["2"]).await;
    });
}

/// A token of `alice`'s from a login session.
fn in_session(session: &str, claims: &Value) -> String {
    let mut claims = claims.clone();
    claims["session"] = session.into();
    token("alice", 60, &claims)
}

#[test]
fn a_subscription_ends_when_its_credential_is_revoked() {
    closed().run(|world| async move {
        let mut alice = world.connect("alice").await;
        for (channel, session) in [("project:1", "one"), ("project:2", "two")] {
            let credential = in_session(session, &json!({ "rooms": [channel] }));
            assert_eq!(
                alice.ask(&format!("sub-by {channel} {credential}")).await,
                "sub-by: ok"
            );
        }
        world.revoke("one");
        alice.receives(&["lapsed project:1"]).await;
        world.revoke("two");
        alice.receives(&["lapsed project:2"]).await;
        assert_eq!(world.publish_on("project:1", "1").await, 0);
    });
}

#[test]
fn events_that_wait_are_not_sent_once_the_credential_has_lapsed() {
    let authorizer = FakeAuthorizer::new(false);
    let setup = Setup {
        policy: PolicyOptions {
            authorizer: true,
            ..rules(&[("staff.1", "role:staff", "nobody")])
        },
        ..Setup::asking(&authorizer)
    };
    setup.run(|world| async move {
        let mut alice = world.connect("alice").await;
        let credential = in_session("one", &json!({ "roles": ["staff"] }));
        assert_eq!(
            alice.ask(&format!("sub-by staff.1 {credential}")).await,
            "sub-by: ok"
        );
        assert_eq!(alice.ask("sub **").await, "sub: ok");
        // It is for the readers of another channel, about which the authorizer is asked.
        let event = Event {
            private_to: Some([UserId::new("carol").unwrap()].into()),
            readers_of: Channel::new("a.b").ok(),
            ..on("staff.1", "1")
        };
        world.publish_all(vec![event]).await;
        until(|| authorizer.asked() == ["a.b"]).await;
        world.revoke("one");
        alice.receives(&["lapsed staff.1"]).await;
        authorizer.gate.open();
        until(|| world.shard.undecided.borrow().is_empty()).await;
        // The connection's credential allows other channels, and not this one.
        world.publish_on("a.b", "2").await;
        alice.receives(&["2"]).await;
        alice.receives_no_more().await;
    });
}

#[test]
fn a_subscription_by_the_connections_credential_does_not_lapse() {
    let room_for_four = DialectSettings {
        max_subscriptions: 4,
        ..settings()
    };
    in_world(room_for_four, |world| async move {
        let mut alice = world.connect("alice").await;
        let credential = in_session("one", &Value::Null);
        let by = |channel: &str| format!("sub-by {channel} {credential}");
        for asked in [
            "sub a.1",
            &by("a.1"),
            &by("a.2"),
            "sub a.2",
            &by("project:3"),
            "join project:3",
            &by("a.4"),
        ] {
            let answer = alice.ask(asked).await;
            assert!(answer.ends_with(": ok"), "{asked}: {answer}");
        }
        world.revoke("one");
        alice.receives(&["lapsed a.4"]).await;
        for channel in ["a.1", "a.2", "project:3"] {
            assert_eq!(world.publish_on(channel, "1").await, 1, "{channel}");
            alice.receives(&["1"]).await;
        }
    });
}

#[test]
fn a_subscriptions_credential_must_be_of_the_connections_user() {
    closed().run(|world| async move {
        let mut alice = world.connect("alice").await;
        let asked = format!("sub-by project:1 {}", of("alice", "project:1", 60));
        assert_eq!(alice.ask(&asked).await, "sub-by: ok");
        assert_eq!(alice.ask("sub project:1").await, "sub: forbidden");
        assert_eq!(alice.ask("join project:1").await, "join: forbidden");
        assert_eq!(world.publish_on("project:1", "1").await, 1);
        alice.receives(&["1"]).await;
    });
}

#[test]
fn a_renewed_subscription_is_judged_again() {
    let authorizer = FakeAuthorizer::new(true);
    let setup = Setup {
        settings: DialectSettings {
            max_subscriptions: 1,
            ..settings()
        },
        ..Setup::asking(&authorizer)
    };
    setup.run(|world| async move {
        let mut alice = world.connect("alice").await;
        let asked = format!("sub-by a.secret {}", token("alice", 60, &Value::Null));
        authorizer.learn("alice", "a.secret");
        for _ in 0..2 {
            assert_eq!(alice.ask(&asked).await, "sub-by: ok");
        }
        authorizer.forget();
        assert_eq!(alice.ask(&asked).await, "sub-by: forbidden");
        assert_eq!(alice.ask("sub a.secret").await, "sub: forbidden");
        assert_eq!(world.publish_on("a.secret", "1").await, 1);
        alice.receives(&["1"]).await;
    });
}

#[test]
fn a_subscriptions_credential_shows_events_for_the_readers_of_its_channel() {
    let authorizer = FakeAuthorizer::new(false);
    let mut setup = Setup::asking(&authorizer);
    setup.policy.rules = rules(&[("staff.*", "role:staff", "anyone")]).rules;
    setup.run(|world| async move {
        let mut alice = world.connect("alice").await;
        let credential = token("alice", 60, &json!({ "roles": ["staff"] }));
        assert_eq!(
            alice.ask(&format!("sub-by staff.1 {credential}")).await,
            "sub-by: ok"
        );
        let private = |readers_of: &str, data: &str| Event {
            private_to: Some([UserId::new("carol").unwrap()].into()),
            readers_of: Channel::new(readers_of).ok(),
            ..on("staff.1", data)
        };
        for event in [
            private("staff.1", "1"),
            private("a.b", "2"),     // waits for the authorizer
            private("staff.1", "3"), // waits behind it
            private("a.secret", "4"),
        ] {
            world.publish_all(vec![event]).await;
        }
        alice.receives(&["1"]).await;
        authorizer.gate.open();
        alice.receives(&["2", "3"]).await;
        alice.receives_no_more().await;
    });
}

#[test]
fn an_event_without_echo_reaches_all_but_its_sender() {
    let setup = Setup {
        shards: 2,
        ..Setup::default()
    };
    setup.run(|world| async move {
        let mut alice = world.connect_on(0, "alice").await;
        let mut again = world.connect_on(0, "alice").await;
        let mut bob = world.connect_on(1, "bob").await;
        for (client, pattern) in [
            (&mut alice, "sub a.*"),
            (&mut again, "sub a.b"),
            (&mut bob, "sub a.b"),
        ] {
            assert_eq!(client.ask(pattern).await, "sub: ok");
        }
        assert_eq!(alice.ask("sub a.b").await, "sub: ok");
        alice.say("pub-others a.b 1;pub a.b 2;pub-others a.b 3").await;
        for client in [&mut again, &mut bob] {
            client.receives(&["1", "2", "3"]).await;
        }
        let mut heard = [
            alice.text().await,
            alice.text().await,
            alice.text().await,
            alice.text().await,
        ];
        heard.sort();
        assert_eq!(heard, ["2", "pub-others: ok", "pub-others: ok", "pub: ok"]);
        alice.receives_no_more().await;
    });
}
