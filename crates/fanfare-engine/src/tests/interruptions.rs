//! Connections that resume again, or were paused.

use std::time::Duration;

use fanfare_core::{Audience, Channel, Gap, Inbound, history::Unrecovered};
use serde_json::Value;

use super::{
    client::Client,
    credentials::pausing,
    fakes::FakeAuthorizer,
    history::{asking, lost, policy, recovered, setup},
    world::{Setup, World, token, until},
};

const A_WHILE: Duration = Duration::from_millis(1500);

fn auth() -> String {
    format!("auth {}", token("alice", 3600, &Value::Null))
}

/// Returns a connection of alice that has sent `commands`, and whose credential expires soon.
async fn short_lived(world: &World, asked: &str, answer: &str) -> Client {
    let mut alice = world.connect_for("alice", A_WHILE).await;
    assert_eq!(alice.ask(asked).await, answer);
    alice
}

#[test]
fn an_event_that_was_resumed_twice_is_sent_once() {
    setup().run(|world: World| async move {
        world.publish_on("chat.a", "1").await;
        let before = world.present();
        for data in ["2", "3"] {
            world.publish_on("chat.a", data).await;
        }
        let mut client = world.connect("alice").await;
        let resume = format!("sub-since {before} chat.a");
        let answer = |count| format!("sub-since: ok {}", recovered(before, count));
        assert_eq!(client.ask(&resume).await, answer(2));
        client.receives(&["2@2", "3@3"]).await;
        world.publish_on("chat.a", "4").await;
        client.receives(&["4@4"]).await;
        assert_eq!(client.ask(&resume).await, answer(0));
        world.publish_on("chat.a", "5").await;
        client.receives(&["5@5"]).await;
        // From an earlier cursor, the events up to the later one are replayed.
        let start = fanfare_core::history::Cursor { number: 0, ..before };
        let answer = client.ask(&format!("sub-since {start} chat.a")).await;
        assert_eq!(answer, format!("sub-since: ok {}", recovered(start, 1)));
        client.receives(&["1@1"]).await;
        let answer = client.ask(&format!("sub-since {before} chat.a")).await;
        assert_eq!(answer, format!("sub-since: ok {}", recovered(before, 0)));
        // A rewind replays the newest events, even if they were shown.
        let answer = client.ask("sub-since ~1 chat.a").await;
        assert!(answer.ends_with(r#""recovered":true,"replayed":1}"#), "{answer}");
        client.receives(&["5@5"]).await;
        client.receives_no_more().await;
    });
}

#[test]
fn a_lost_event_is_replayed_to_a_connection_that_resumes_again() {
    setup().run(|world: World| async move {
        let before = world.present();
        let mut client = world.connect("alice").await;
        let resume = format!("sub-since {before} chat.a");
        let answer = |count| format!("sub-since: ok {}", recovered(before, count));
        assert_eq!(client.ask(&resume).await, answer(0));
        world.publish_on("chat.a", "1").await;
        client.receives(&["1@1"]).await;
        let now = world.present();
        world.node.on_gap(Gap {
            audience: Some(Audience::Channel(Channel::new("chat.a").unwrap())),
            present: now,
            reason: Unrecovered::Expired,
        });
        client.receives(&[&lost(now, "expired")]).await;
        assert_eq!(client.ask(&resume).await, answer(1));
        client.receives(&["1@1"]).await;
    });
}

#[test]
fn a_paused_connection_is_notified_that_it_may_have_missed_events() {
    pausing(policy()).run(|world: World| async move {
        let start = world.present();
        let first = format!("sub-since: ok {}", recovered(start, 0));
        let mut asked = short_lived(&world, "sub-since now chat.a", &first).await;
        let mut other = short_lived(&world, "sub chat.a", "sub: ok").await;
        for client in [&mut asked, &mut other] {
            client.receives(&["expired"]).await;
        }
        world.publish_on("chat.a", "1").await;
        let now = world.present();
        world.broker.reads.shut();
        asked.say(&auth()).await;
        asked.receives(&["auth: alice"]).await;
        until(|| world.waiting() == 1).await;
        world.publish_on("chat.a", "2").await; // behind the reported cursor
        world.broker.reads.open();
        asked.receives(&[&lost(now, "expired"), "2@2"]).await;
        assert_eq!(other.ask(&auth()).await, "auth: alice");
        world.publish_on("chat.a", "3").await;
        asked.receives(&["3@3"]).await;
        other.receives(&["3"]).await;
        // It is notified once.
        assert_eq!(asked.ask(&auth()).await, "auth: alice");
        // The missed events can still be replayed.
        let answer = asked.ask(&format!("sub-since {start} chat.a")).await;
        assert!(answer.contains(r#""recovered":true"#), "{answer}");
        asked.receives(&["1@1"]).await;
        for client in [&mut asked, &mut other] {
            client.receives_no_more().await;
        }
    });
}

#[test]
fn a_paused_connection_that_resumes_is_notified_by_the_answer() {
    pausing(policy()).run(|world: World| async move {
        let start = world.present();
        let first = format!("sub-since: ok {}", recovered(start, 0));
        let mut alice = short_lived(&world, "sub-since now chat.a", &first).await;
        alice.receives(&["expired"]).await;
        world.publish_on("chat.a", "1").await;
        alice.say(&format!("{};resume {start}", auth())).await;
        let answer = format!("resume: ok {}", recovered(start, 1));
        alice.receives(&["auth: alice", &answer, "1@1"]).await;
        alice.receives_no_more().await;
    });
}

#[test]
fn an_answer_for_an_earlier_hold_is_ignored() {
    let authorizer = FakeAuthorizer::new(false);
    let setup = Setup {
        authorizer: Some(authorizer.clone()),
        ..pausing(asking())
    };
    setup.run(|world: World| async move {
        let start = world.present();
        world.publish_on("chat.a", "1").await;
        let middle = world.present();
        world.publish_on("chat.b", "2").await;
        let first = format!("sub-since: ok {}", recovered(start, 2));
        let mut alice = short_lived(&world, &format!("sub-since {start} chat.*"), &first).await;
        alice.receives(&["expired"]).await;
        alice.say(&format!("{};resume {middle}", auth())).await;
        let answer = format!("resume: ok {}", recovered(middle, 1));
        alice.receives(&["auth: alice", &answer]).await;
        authorizer.gate.open();
        alice.receives(&["2@2"]).await;
        alice.receives_no_more().await;
    });
}
