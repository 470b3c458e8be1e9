//! Resumes: a client receives the events that it missed, once and in order, before live ones.

use std::time::Duration;

use fanfare_core::{
    Audience, Channel, Event, Gap, Inbound, UserId,
    history::{Cursor, Retention, Since, Unrecovered},
    policy::{PolicyOptions, Rule, RulePattern},
};

use super::{
    fakes::FakeAuthorizer,
    world::{Setup, World, event, on, rules, settings},
};
use crate::DialectSettings;

/// Rules by which channels under `chat` and `project:` have history, and users and everyone too.
pub(super) fn policy() -> PolicyOptions {
    let keep = Retention {
        size: 100,
        ttl: Duration::from_secs(60),
    };
    let kept = |pattern| Rule {
        pattern: RulePattern::new(pattern).unwrap(),
        subscribe: None,
        publish: None,
        join: None,
        history: Some(keep),
    };
    let secret = rules(&[("chat.secret", "role:staff", "service")]);
    PolicyOptions {
        rules: ["chat.**", "project:*"]
            .into_iter()
            .map(kept)
            .chain(secret.rules)
            .collect(),
        users: Some(keep),
        everyone: Some(keep),
        ..secret
    }
}

/// The same, with the authorizer.
pub(super) fn asking() -> PolicyOptions {
    PolicyOptions {
        authorizer: true,
        ..policy()
    }
}

pub(super) fn setup() -> Setup {
    Setup {
        policy: policy(),
        ..Setup::default()
    }
}

pub(super) fn recovered(cursor: Cursor, replayed: usize) -> String {
    format!(r#"{{"cursor":"{cursor}","recovered":true,"replayed":{replayed}}}"#)
}

pub(super) fn lost(cursor: Cursor, reason: &str) -> String {
    format!(r#"{{"cursor":"{cursor}","recovered":false,"replayed":0,"reason":"{reason}"}}"#)
}

#[test]
fn missed_events_precede_live_ones() {
    setup().run(|world: World| async move {
        world.publish_on("chat.a", "1").await;
        let before = world.present();
        world.publish_on("chat.a", "2").await;
        world.publish_on("chat.b", "3").await;
        world.publish_on("other", "4").await;
        world.publish_on("chat.c", "5").await;
        let mut client = world.connect("alice").await;
        let answer = client.ask(&format!("sub-since {before} chat.a chat.b")).await;
        assert_eq!(answer, format!("sub-since: ok ok {}", recovered(before, 2)));
        client.receives(&["2@2", "3@3"]).await;
        world.publish_on("chat.a", "6").await;
        world.publish_on("chat.c", "7").await;
        client.receives(&["6@5"]).await;
        client.receives_no_more().await;
        // Without a resume, the bytes are unchanged.
        let mut other = world.connect("ben").await;
        assert_eq!(other.ask("sub chat.a").await, "sub: ok");
        world.publish_on("chat.a", "8").await;
        other.receives(&["8"]).await;
        client.receives(&["8@7"]).await;
    });
}

#[test]
fn a_handshake_resumes_the_users_events_and_those_for_everyone() {
    setup().run(|world: World| async move {
        let before = world.present();
        world.publish("alice", "t", "1").await;
        world.publish("*", "t", "2").await;
        world.publish("ben", "t", "3").await;
        let mut client = world.connect_since("alice", Since::Cursor(before)).await;
        assert_eq!(
            client.text().await,
            format!("resumed: ok {}", recovered(before, 2))
        );
        client.receives(&["1@1", "2@2"]).await;
        world.publish("alice", "t", "4").await;
        client.receives(&["4@4"]).await;
        let now = world.present();
        let mut fresh = world.connect_since("alice", Since::Now).await;
        assert_eq!(fresh.text().await, format!("resumed: ok {}", recovered(now, 0)));
        fresh.receives_no_more().await;
    });
}

#[test]
fn nothing_is_missed_or_repeated_while_the_journal_is_read() {
    setup().run(|world: World| async move {
        let before = world.present();
        world.publish_on("chat.a", "1").await;
        for by in ["chat.a", "chat.*"] {
            world.broker.reads.shut();
            let mut client = world.connect("alice").await;
            client.say(&format!("sub-since {before} {by}")).await;
            world.holds_back().await;
            let count = world.broker.journal.figures().entries;
            world.publish_on("chat.a", "10").await; // after the reading, before its answer
            world.publish_on("other", "11").await;
            world.broker.reads.open();
            let answer = client.text().await;
            assert_eq!(
                answer,
                format!(
                    "sub-since: ok {}",
                    recovered(before, usize::try_from(count).unwrap())
                )
            );
            for _ in 0..count {
                client.text().await;
            }
            assert!(client.text().await.starts_with("10@"));
            client.receives_no_more().await;
        }
    });
}

#[test]
fn a_resume_that_cannot_replay_all_events_reports_it() {
    setup().run(|world: World| async move {
        let before = world.present();
        for data in 0..150 {
            world.publish_on("chat.a", &data.to_string()).await;
        }
        let now = world.present();
        let mut client = world.connect("alice").await;
        for (asked, expected) in [
            (before.to_string(), lost(now, "expired")),
            ("0000000000000000-1".to_owned(), lost(now, "epoch")),
            (Cursor { number: 1000, ..now }.to_string(), lost(now, "unknown")),
            ("nonsense".to_owned(), lost(now, "unknown")),
            (now.to_string(), recovered(now, 0)),
        ] {
            let answer = client.ask(&format!("sub-since {asked} chat.a")).await;
            assert_eq!(answer, format!("sub-since: ok {expected}"));
        }
        // Without history, no event is recovered.
        let answer = client.ask(&format!("sub-since {now} other")).await;
        assert_eq!(answer, format!("sub-since: ok {}", lost(now, "expired")));
        let answer = client.ask("sub-since ~2 chat.b").await;
        assert_eq!(answer, format!("sub-since: ok {}", recovered(now, 0)));
        client.receives_no_more().await;
    });
}

#[test]
fn the_newest_events_are_replayed_without_a_cursor() {
    setup().run(|world: World| async move {
        for data in 0..5 {
            world.publish_on("chat.a", &data.to_string()).await;
        }
        let now = world.present();
        let mut client = world.connect("alice").await;
        let from = Cursor { number: 3, ..now };
        let answer = client.ask("sub-since ~2 chat.a").await;
        assert_eq!(answer, format!("sub-since: ok {}", recovered(from, 2)));
        client.receives(&["3@4", "4@5"]).await;
        let mut client = world.connect("alice").await;
        client.say("sub-since ~1m chat.a").await;
        client.text().await;
        client.receives(&["0@1", "1@2", "2@3", "3@4", "4@5"]).await;
        client.receives_no_more().await;
    });
}

#[test]
fn the_current_rules_decide_which_events_are_replayed() {
    setup().run(|world: World| async move {
        let before = world.present();
        world.publish_on("chat.secret", "1").await;
        world.publish_on("chat.a", "2").await;
        let private = Event {
            private_to: Some([UserId::new("ben").unwrap()].into()),
            ..on("chat.a", "3")
        };
        world.publish_all(vec![private]).await;
        for (user, count, expected) in [
            ("alice", 1, &["2@2"][..]),
            ("ben", 2, &["2@2", "3@3"]),
            ("clara+staff", 2, &["1@1", "2@2"]),
        ] {
            let mut client = world.connect(user).await;
            let answer = client.ask(&format!("sub-since {before} chat.**")).await;
            assert_eq!(
                answer,
                format!("sub-since: ok {}", recovered(before, count)),
                "{user}"
            );
            client.receives(expected).await;
            client.receives_no_more().await;
        }
    });
}

#[test]
fn no_event_overtakes_one_that_the_authorizer_decides() {
    let authorizer = FakeAuthorizer::new(false);
    let setup = Setup {
        policy: asking(),
        authorizer: Some(authorizer.clone()),
        ..Setup::default()
    };
    setup.run(|world: World| async move {
        let before = world.present();
        world.publish_on("chat.a", "1").await;
        let mut client = world.connect("alice").await;
        let answer = client.ask(&format!("sub-since {before} chat.*")).await;
        assert_eq!(answer, format!("sub-since: ok {}", recovered(before, 1)));
        // Also if events before and behind it are in one batch.
        let batch = [
            event("alice", "t", "2"),
            on("chat.b", "3"),
            event("alice", "t", "4"),
        ];
        world.publish_all(batch.into()).await;
        world.publish("alice", "t", "5").await;
        authorizer.gate.open();
        client.receives(&["1@1", "2@2", "3@3", "4@4", "5@5"]).await;
        client.receives_no_more().await;
    });
}

#[test]
fn several_frames_resume_with_one_cursor() {
    setup().run(|world: World| async move {
        let before = world.present();
        for (at, name) in ["chat.a", "chat.b", "chat.a", "project:1"]
            .into_iter()
            .enumerate()
        {
            world.publish_on(name, &at.to_string()).await;
        }
        let mut client = world.connect("alice").await;
        client.say(&format!("sub-since {before} chat.b")).await;
        client
            .receives(&[&format!("sub-since: ok {}", recovered(before, 1)), "1@2"])
            .await;
        // The second does not repeat the events of the first.
        client.say(&format!("sub-since {before} chat.*")).await;
        client
            .receives(&[&format!("sub-since: ok {}", recovered(before, 2)), "0@1", "2@3"])
            .await;
        client.say(&format!("join-since {before} project:1")).await;
        client
            .receives(&[&format!("join-since: ok {}", recovered(before, 1)), "3@4"])
            .await;
        world.publish_on("chat.b", "9").await;
        client.receives(&["9@5"]).await;
        client.receives_no_more().await;
    });
}

#[test]
fn a_slow_client_is_replayed_all_events_within_the_limits_of_its_queue() {
    let settings = DialectSettings {
        send_queue: 8,
        ..settings()
    };
    let setup = Setup { settings, ..setup() };
    setup.run(|world: World| async move {
        let before = world.present();
        for data in 0..90 {
            world.publish_on("chat.a", &data.to_string()).await;
        }
        let (mut client, control) = world.connect_controlled("alice").await;
        control.hold_for_client(0);
        client.say(&format!("sub-since {before} chat.a")).await;
        world.holds_back().await;
        world.publish_on("chat.a", "90").await;
        let most = world
            .shard
            .connections
            .borrow()
            .iter()
            .map(|(_, own)| own.connection.waiting().0)
            .max();
        assert!(most.unwrap() <= 8, "{most:?}");
        control.hold_for_client(usize::MAX);
        client
            .receives(&[&format!("sub-since: ok {}", recovered(before, 90))])
            .await;
        for data in 0..=90 {
            client.receives(&[&format!("{data}@{:x}", data + 1)]).await;
        }
        client.receives_no_more().await;
    });
}

#[test]
fn a_client_that_never_reads_is_ended() {
    let settings = DialectSettings {
        send_queue: 8,
        ping_interval: Duration::from_secs(1),
        ping_timeout: Duration::from_secs(2),
        ..settings()
    };
    let setup = Setup { settings, ..setup() };
    setup.run(|world: World| async move {
        let before = world.present();
        for data in 0..90 {
            world.publish_on("chat.a", &data.to_string()).await;
        }
        let (mut client, control) = world.connect_controlled("alice").await;
        control.hold_for_client(0);
        client.say(&format!("sub-since {before} chat.a")).await;
        world.held(0).await;
        drop(client);
    });
}

#[test]
fn a_gap_is_reported_to_the_clients_with_cursors() {
    setup().run(|world: World| async move {
        let now = world.present();
        let (mut asked, mut other) = (world.connect("alice").await, world.connect("ben").await);
        asked.ask("sub-since now chat.a").await;
        other.ask("sub chat.a").await;
        for channel in ["chat.b", "chat.a"] {
            world.node.on_gap(Gap {
                audience: Some(Audience::Channel(Channel::new(channel).unwrap())),
                present: now,
                reason: Unrecovered::Expired,
            });
        }
        asked.receives(&[&lost(now, "expired")]).await;
        asked.receives_no_more().await;
        other.receives_no_more().await;
    });
}
