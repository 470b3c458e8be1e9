#![allow(clippy::unwrap_used)]

use std::{sync::atomic::Ordering::Relaxed, time::Duration};

use fanfare_core::{
    Audience, Broker, Channel, Event, Interest,
    history::{History, Unrecovered},
    journal::{ReplayFrom, ReplayQuery, ReplayScope},
};

use crate::{
    journal::MemoryJournal,
    test_hub::{Hub, KEEP, TestNode, eventually, to},
};

fn keeping() -> Hub {
    Hub::keeping(MemoryJournal::new(1 << 20))
}

fn named(name: &str) -> Audience {
    Audience::Channel(Channel::new(name).unwrap())
}

fn channel(name: &str) -> Interest {
    Interest::Channel(Channel::new(name).unwrap())
}

fn kept(name: &str, data: u32) -> Event {
    Event {
        history: History::Wanted(KEEP),
        ..to(named(name), &data.to_string())
    }
}

/// A node that receives `interest`, and one that publishes.
async fn receiver(hub: &Hub, interest: Interest) -> (TestNode, TestNode) {
    let (node, other) = (hub.node("a").await, hub.node("b").await);
    node.inbound.keeps.store(true, Relaxed);
    node.hold_interest(interest).await;
    eventually("it is watched", async || !node.broker.journal_is_new()).await;
    (node, other)
}

async fn all_arrive(node: &TestNode, expected: &[u32]) {
    let expected: Vec<String> = expected.iter().map(ToString::to_string).collect();
    eventually("all have arrived", async || {
        node.inbound.seen().len() >= expected.len()
    })
    .await;
    assert_eq!(node.inbound.seen(), expected);
}

#[tokio::test]
async fn channels_that_only_a_pattern_shows_are_fetched_after_an_outage() {
    let hub = keeping();
    let (node, other) = receiver(&hub, Interest::AllChannels).await;
    other.say(kept("chat.a", 0)).await;
    all_arrive(&node, &[0]).await;
    hub.set_cut("a", true);
    for data in 1..4 {
        other
            .say(kept(["chat.a", "chat.b", "chat.c"][data as usize - 1], data))
            .await;
    }
    hub.set_cut("a", false);
    all_arrive(&node, &[0, 1, 2, 3]).await;
    other.say(kept("chat.c", 4)).await;
    all_arrive(&node, &[0, 1, 2, 3, 4]).await;
    assert_eq!(node.inbound.numbers(), [1, 2, 3, 4, 5]);
    assert_eq!(node.inbound.gaps(), []);
}

#[tokio::test]
async fn an_outage_right_after_a_replay_loses_nothing() {
    let hub = keeping();
    let (node, other) = (hub.node("a").await, hub.node("b").await);
    node.inbound.keeps.store(true, Relaxed);
    node.hold_interest(channel("chat.a")).await;
    let query = ReplayQuery {
        scope: ReplayScope::of(&named("chat.a")),
        from: ReplayFrom::Present,
        limit: 10,
    };
    assert!(node.broker.replay(query).await.present.is_some());
    hub.set_deaf("a", true);
    other.say(kept("chat.a", 1)).await;
    hub.set_cut("a", true);
    hub.set_deaf("a", false);
    hub.set_cut("a", false);
    all_arrive(&node, &[1]).await;
}

#[tokio::test]
async fn a_journal_that_fails_for_a_moment_is_asked_again() {
    let hub = keeping();
    let (node, other) = receiver(&hub, channel("chat.a")).await;
    hub.set_cut("a", true);
    other.say(kept("chat.a", 1)).await;
    hub.refuse_questions(1);
    hub.set_cut("a", false);
    all_arrive(&node, &[1]).await;
    assert_eq!(node.inbound.gaps(), []);
}

#[tokio::test]
async fn a_journal_that_does_not_answer_is_reported_and_asked_later() {
    let hub = keeping();
    let (node, other) = receiver(&hub, channel("chat.a")).await;
    other.say(kept("chat.a", 1)).await;
    all_arrive(&node, &[1]).await;
    hub.set_cut("a", true);
    other.say(kept("chat.a", 2)).await;
    hub.refuse_questions(3);
    hub.set_cut("a", false);
    eventually("it is reported", async || !node.inbound.gaps().is_empty()).await;
    let gap = &node.inbound.gaps()[0];
    assert_eq!((&gap.audience, gap.reason), (&None, Unrecovered::Expired));
    other.say(kept("chat.a", 3)).await;
    all_arrive(&node, &[1, 2, 3]).await;
}

/// A new audience is watched as soon as the journal answers.
#[tokio::test]
async fn an_audience_stays_new_until_the_journal_answers() {
    let hub = keeping();
    let (node, other) = (hub.node("a").await, hub.node("b").await);
    node.inbound.keeps.store(true, Relaxed);
    hub.refuse_questions(2);
    node.hold_interest(channel("chat.a")).await;
    eventually("it is watched", async || !node.broker.journal_is_new()).await;
    assert_eq!(node.broker.journal_figures().watched, 1);
    hub.set_deaf("a", true);
    other.say(kept("chat.a", 1)).await;
    hub.set_deaf("a", false);
    other.say(kept("chat.a", 2)).await;
    all_arrive(&node, &[1, 2]).await;
}

#[tokio::test]
async fn an_own_event_waits_for_those_that_were_lost_before_it() {
    let hub = keeping();
    let (node, other) = receiver(&hub, channel("chat.a")).await;
    other.say(kept("chat.a", 1)).await;
    all_arrive(&node, &[1]).await;
    for (round, first) in [2, 5, 8].into_iter().enumerate() {
        hub.set_deaf("a", true);
        other.say(kept("chat.a", first)).await;
        // Its echo is lost, too: the connection is opened again, or nothing is noticed.
        let own = node.say(kept("chat.a", first + 1));
        let cut = async {
            tokio::time::sleep(Duration::from_millis(20 * round as u64)).await;
            if round < 2 {
                hub.set_cut("a", false); // ends its connections
            }
            hub.set_deaf("a", false);
        };
        tokio::join!(own, cut);
        node.say(kept("chat.a", first + 2)).await;
        let expected: Vec<u32> = (1..=first + 2).collect();
        all_arrive(&node, &expected).await;
    }
    let numbers = node.inbound.numbers();
    assert_eq!(numbers, (1..=10).collect::<Vec<u64>>());
}

/// What a backend keeps by itself does not wait for the store of ids behind what is not kept.
#[tokio::test]
async fn a_kept_event_of_another_program_keeps_its_place() {
    let hub = keeping();
    let (node, other) = receiver(&hub, channel("chat.a")).await;
    let id = uuid::Uuid::now_v7();
    let text = format!(r#"{{"id":"{id}","to":{{"channel":"chat.a"}},"data":0}}"#);
    hub.publish(crate::transport::Subject::Events, text.as_bytes());
    hub.publish_kept(&named("chat.a"), br#"{"type":"t","payload":1}"#, KEEP);
    other.say(kept("chat.a", 2)).await;
    eventually("all have arrived", async || node.inbound.seen().len() == 3).await;
    assert_eq!(node.inbound.numbers(), [1, 2]);
}

/// What a client relies on from now on, because the journal does not answer, is reported if it may be lost, and only then.
#[tokio::test]
async fn what_may_be_lost_while_the_journal_does_not_answer_is_reported() {
    let hub = keeping();
    let (node, other) = receiver(&hub, channel("chat.x")).await;
    other.say(kept("chat.x", 1)).await;
    all_arrive(&node, &[1]).await;
    hub.refuse_questions(u32::MAX);
    for name in ["lost", "later", "silent", "whole"] {
        node.hold_interest(channel(name)).await;
        let query = ReplayQuery {
            scope: ReplayScope::of(&named(name)),
            from: ReplayFrom::Present,
            limit: 10,
        };
        assert!(node.broker.replay(query).await.present.is_none());
    }
    hub.set_deaf("a", true);
    for (name, data) in [("lost", 2), ("later", 3)] {
        other.say(kept(name, data)).await;
    }
    hub.set_deaf("a", false);
    for (name, data) in [("later", 4), ("whole", 5)] {
        other.say(kept(name, data)).await;
    }
    all_arrive(&node, &[1, 4, 5]).await;
    hub.refuse_questions(0);
    eventually("all are watched", async || !node.broker.journal_is_new()).await;
    eventually("both are reported", async || node.inbound.gaps().len() == 2).await;
    let gaps = node.inbound.gaps().into_iter();
    let gaps: Vec<_> = gaps.map(|gap| (gap.audience.unwrap(), gap.reason)).collect();
    let expected = ["later", "lost"].map(|name| (named(name), Unrecovered::Expired));
    assert_eq!(gaps, expected);
}
