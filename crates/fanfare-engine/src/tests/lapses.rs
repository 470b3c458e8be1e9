//! Subscriptions by a credential of their own, and events that their sender does not receive.

use fanfare_core::policy::{PolicyOptions, RoomAccess};
use serde_json::{Value, json};

use super::world::{Setup, in_world, rules, settings, token};

/// A world in which only a credential opens a room.
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
fn a_credential_opens_one_channel() {
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
        assert_eq!(world.tell("project:1", "1").await, 1);
        alice.hears(&["1"]).await;
        // A credential of the connection that does not open the room leaves the subscription.
        let own = format!("auth {}", token("alice", 60, &Value::Null));
        assert_eq!(alice.ask(&own).await, "auth: alice");
        assert_eq!(world.tell("project:1", "2").await, 1);
        alice.hears(&["2"]).await;
        assert_eq!(alice.ask("unsub project:1").await, "unsub: ok");
        assert_eq!(world.tell("project:1", "3").await, 0);
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
        alice.hears(&["lapsed project:1"]).await;
        assert_eq!(world.tell("project:1", "1").await, 0);
        assert_eq!(world.tell("project:2", "2").await, 1);
        alice.hears(&["2"]).await;
    });
}

#[test]
fn a_subscription_of_its_own_right_does_not_lapse() {
    in_world(settings(), |world| async move {
        let mut alice = world.connect("alice").await;
        assert_eq!(alice.ask("sub a.b").await, "sub: ok");
        let asked = format!("sub-by a.b {}", token("alice", 1, &Value::Null));
        assert_eq!(alice.ask(&asked).await, "sub-by: ok");
        let asked = format!("sub-by a.c {}", token("alice", 2, &Value::Null));
        assert_eq!(alice.ask(&asked).await, "sub-by: ok");
        alice.hears(&["lapsed a.c"]).await;
        assert_eq!(world.tell("a.b", "1").await, 1);
        alice.hears(&["1"]).await;
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
            client.hears(&["1", "2", "3"]).await;
        }
        let mut heard = [
            alice.text().await,
            alice.text().await,
            alice.text().await,
            alice.text().await,
        ];
        heard.sort();
        assert_eq!(heard, ["2", "pub-others: ok", "pub-others: ok", "pub: ok"]);
        alice.hears_no_more().await;
    });
}
