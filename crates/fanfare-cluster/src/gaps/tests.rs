#![allow(clippy::unwrap_used)]

use std::{sync::atomic::Ordering::Relaxed, time::Duration};

use fanfare_core::{
    Audience, Broker, Channel, Event, Interest,
    history::{Cursor, History, Unrecovered},
    journal::{Replay, ReplayFrom, ReplayQuery, ReplayScope},
};

use super::MAX_REPORTS;
use crate::{
    journal::MemoryJournal,
    test_hub::{Hub, KEEP, TestNode, eventually, to},
    transport::{Subject, recorder::BEGINS_ANEW},
};

/// A time in which a node compares its numbers with the journal's.
const COMPARED: Duration = Duration::from_secs(7);

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

/// Returns a node that receives `interest`, and one that publishes.
async fn receiver(hub: &Hub, interest: Interest) -> (TestNode, TestNode) {
    let (node, other) = (hub.node("a").await, hub.node("b").await);
    node.inbound.keeps.store(true, Relaxed);
    node.hold_interest(interest).await;
    eventually("it is watched", async || !node.broker.journal_is_new()).await;
    (node, other)
}

fn query(name: &str, from: ReplayFrom) -> ReplayQuery {
    let scope = ReplayScope::of(&named(name));
    ReplayQuery {
        scope,
        from,
        limit: 10,
    }
}

async fn replay(node: &TestNode, name: &str, from: ReplayFrom) -> Replay {
    node.broker.replay(query(name, from)).await
}

/// Returns the audiences of the reported losses.
fn reported(node: &TestNode) -> Vec<Option<Audience>> {
    let gaps = node.inbound.gaps().into_iter();
    gaps.map(|gap| {
        assert_eq!(gap.reason, Unrecovered::Expired);
        gap.audience
    })
    .collect()
}

/// Returns a node that missed the second event of its channel in an outage, and another node. Afterwards the journal refuses `refusals`
/// requests.
async fn behind(hub: &Hub, refusals: u32) -> (TestNode, TestNode) {
    let (node, other) = receiver(hub, channel("chat.a")).await;
    other.publish_without_receipt(kept("chat.a", 1)).await;
    all_arrive(&node, &[1]).await;
    hub.set_cut("a", true);
    other.publish_without_receipt(kept("chat.a", 2)).await;
    hub.refuse_requests(refusals);
    hub.set_cut("a", false);
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
async fn channels_of_a_pattern_are_fetched_after_an_outage() {
    let hub = keeping();
    let (node, other) = receiver(&hub, Interest::AllChannels).await;
    other.publish_without_receipt(kept("chat.a", 0)).await;
    all_arrive(&node, &[0]).await;
    hub.set_cut("a", true);
    for data in 1..4 {
        other
            .publish_without_receipt(kept(["chat.a", "chat.b", "chat.c"][data as usize - 1], data))
            .await;
    }
    hub.set_cut("a", false);
    all_arrive(&node, &[0, 1, 2, 3]).await;
    other.publish_without_receipt(kept("chat.c", 4)).await;
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
    assert!(
        replay(&node, "chat.a", ReplayFrom::Present)
            .await
            .present
            .is_some()
    );
    hub.set_deaf("a", true);
    other.publish_without_receipt(kept("chat.a", 1)).await;
    hub.set_cut("a", true);
    hub.set_deaf("a", false);
    hub.set_cut("a", false);
    all_arrive(&node, &[1]).await;
}

#[tokio::test]
async fn a_request_that_the_journal_refuses_is_retried() {
    let hub = keeping();
    let (node, _other) = behind(&hub, 1).await;
    all_arrive(&node, &[1, 2]).await;
    assert_eq!(node.inbound.gaps(), []);
}

#[tokio::test]
async fn a_loss_is_reported_if_the_journal_does_not_answer() {
    let hub = keeping();
    let (node, other) = behind(&hub, 3).await;
    eventually("it is reported", async || reported(&node) == [None]).await;
    other.publish_without_receipt(kept("chat.a", 3)).await;
    all_arrive(&node, &[1, 2, 3]).await;
}

#[tokio::test]
async fn an_audience_stays_new_until_the_journal_answers() {
    let hub = keeping();
    let (node, other) = (hub.node("a").await, hub.node("b").await);
    node.inbound.keeps.store(true, Relaxed);
    hub.refuse_requests(2);
    node.hold_interest(channel("chat.a")).await;
    eventually("it is watched", async || !node.broker.journal_is_new()).await;
    assert_eq!(node.broker.journal_figures().watched, 1);
    hub.set_deaf("a", true);
    other.publish_without_receipt(kept("chat.a", 1)).await;
    hub.set_deaf("a", false);
    other.publish_without_receipt(kept("chat.a", 2)).await;
    all_arrive(&node, &[1, 2]).await;
}

#[tokio::test]
async fn an_event_of_this_node_waits_for_earlier_lost_events() {
    let hub = keeping();
    let (node, other) = receiver(&hub, channel("chat.a")).await;
    other.publish_without_receipt(kept("chat.a", 1)).await;
    all_arrive(&node, &[1]).await;
    for (round, first) in [2, 5, 8].into_iter().enumerate() {
        hub.set_deaf("a", true);
        other.publish_without_receipt(kept("chat.a", first)).await;
        // Its echo is lost as well. Then the node reconnects, or does not notice it.
        let own = node.publish_without_receipt(kept("chat.a", first + 1));
        let cut = async {
            tokio::time::sleep(Duration::from_millis(20 * round as u64)).await;
            if round < 2 {
                hub.set_cut("a", false); // ends its connections
            }
            hub.set_deaf("a", false);
        };
        tokio::join!(own, cut);
        node.publish_without_receipt(kept("chat.a", first + 2)).await;
        let expected: Vec<u32> = (1..=first + 2).collect();
        all_arrive(&node, &expected).await;
    }
    let numbers = node.inbound.numbers();
    assert_eq!(numbers, (1..=10).collect::<Vec<u64>>());
}

/// An event that a backend keeps does not wait for the store of ids, even if an earlier event does.
#[tokio::test]
async fn a_kept_event_of_another_program_keeps_its_place() {
    let hub = keeping();
    let (node, other) = receiver(&hub, channel("chat.a")).await;
    let id = uuid::Uuid::now_v7();
    let text = format!(r#"{{"id":"{id}","to":{{"channel":"chat.a"}},"data":0}}"#);
    hub.publish(Subject::Events, text.as_bytes());
    hub.publish_kept(&named("chat.a"), br#"{"type":"t","payload":1}"#, KEEP);
    other.publish_without_receipt(kept("chat.a", 2)).await;
    eventually("all have arrived", async || node.inbound.seen().len() == 3).await;
    assert_eq!(node.inbound.numbers(), [1, 2]);
}

/// An audience whose last number is unknown, because the journal does not answer, is reported only if an event may be lost.
#[tokio::test]
async fn possible_losses_are_reported_when_the_journal_answers_again() {
    let hub = keeping();
    let (node, other) = receiver(&hub, channel("chat.x")).await;
    other.publish_without_receipt(kept("chat.x", 1)).await;
    all_arrive(&node, &[1]).await;
    hub.refuse_requests(u32::MAX);
    for name in ["lost", "later", "silent", "whole"] {
        subscribe_without_journal(&node, name).await;
    }
    hub.set_deaf("a", true);
    for (name, data) in [("lost", 2), ("later", 3)] {
        other.publish_without_receipt(kept(name, data)).await;
    }
    hub.set_deaf("a", false);
    for (name, data) in [("later", 4), ("whole", 5)] {
        other.publish_without_receipt(kept(name, data)).await;
    }
    all_arrive(&node, &[1, 4, 5]).await;
    hub.refuse_requests(0);
    eventually("all are watched", async || !node.broker.journal_is_new()).await;
    let expected = ["later", "lost"].map(|name| Some(named(name)));
    eventually("both are reported", async || reported(&node) == expected).await;
}

/// Subscribes a client of `node` to a channel while the journal does not answer.
async fn subscribe_without_journal(node: &TestNode, name: &str) {
    node.hold_interest(channel(name)).await;
    assert!(replay(node, name, ReplayFrom::Present).await.present.is_none());
}

/// Many losses at once are one report for all audiences, because each report is a message to every connection.
#[tokio::test]
async fn many_losses_are_reported_together() {
    for (count, expected) in [(MAX_REPORTS, MAX_REPORTS), (2 * MAX_REPORTS, MAX_REPORTS + 1)] {
        let hub = keeping();
        let (node, other) = (hub.node("a").await, hub.node("b").await);
        node.inbound.keeps.store(true, Relaxed);
        hub.refuse_requests(u32::MAX);
        let names: Vec<String> = (0..count).map(|number| format!("chat.{number}")).collect();
        for name in &names {
            subscribe_without_journal(&node, name).await;
        }
        hub.set_deaf("a", true);
        for name in &names {
            other.publish_without_receipt(kept(name, 1)).await;
        }
        hub.set_deaf("a", false);
        hub.refuse_requests(0);
        eventually("all are watched", async || !node.broker.journal_is_new()).await;
        eventually("all is reported", async || reported(&node).len() >= expected).await;
        let reported = reported(&node);
        assert_eq!(reported.len(), expected);
        assert_eq!(reported.contains(&None), count > MAX_REPORTS);
        assert_eq!(node.broker.journal_figures().gaps_lost, count as u64);
    }
}

/// Waiting events that a report for all audiences covers are not reported again for each channel.
#[tokio::test]
async fn a_loss_that_was_reported_for_all_audiences_is_not_reported_again() {
    let hub = keeping();
    let (node, other) = behind(&hub, u32::MAX).await;
    eventually("it is connected again", async || hub.listens("a")).await;
    other.publish_without_receipt(kept("chat.a", 3)).await;
    all_arrive(&node, &[1, 3]).await;
    assert_eq!(reported(&node), [None]);
    assert_eq!(node.broker.journal_figures().gaps_lost, 1);
}

#[tokio::test]
async fn the_last_numbers_of_new_audiences_are_requested_again_after_an_outage() {
    let hub = keeping();
    let (node, other) = receiver(&hub, channel("chat.x")).await;
    other.publish_without_receipt(kept("chat.x", 1)).await;
    all_arrive(&node, &[1]).await;
    // The journal's epoch is known, and no audience is watched that the node compares first.
    node.broker.unsubscribe(channel("chat.x"));
    hub.refuse_requests(u32::MAX);
    subscribe_without_journal(&node, "chat.a").await;
    hub.set_cut("a", true);
    hub.refuse_requests(1);
    hub.set_cut("a", false);
    eventually("it is watched", async || !node.broker.journal_is_new()).await;
    assert_eq!(reported(&node), []);
}

/// A fetched event that was dropped with the connection is found by its channel's name: the journal has no newer event.
#[tokio::test]
async fn a_fetched_event_that_is_dropped_with_its_connection_is_fetched_again() {
    let hub = keeping();
    let (node, other) = receiver(&hub, Interest::AllChannels).await;
    other.publish_without_receipt(kept("chat.a", 0)).await;
    all_arrive(&node, &[0]).await;
    hub.set_cut("a", true);
    other.publish_without_receipt(kept("chat.b", 1)).await;
    other.publish_without_receipt(kept("chat.c", 2)).await;
    hub.set_answers(1);
    hub.set_cut("a", false);
    let filled = || node.broker.journal_figures().gaps_filled;
    eventually("one is fetched", async || filled() == 1).await;
    hub.set_cut("a", true);
    tokio::time::sleep(Duration::from_millis(50)).await; // the fetched event is dropped
    hub.set_answers(usize::MAX);
    hub.set_cut("a", false);
    all_arrive(&node, &[0, 1, 2]).await;
    assert_eq!(node.inbound.numbers(), [1, 2, 3]);
}

/// A node may find a raised floor before it receives the tick of the new recorder that raised it.
#[tokio::test(start_paused = true)]
async fn a_raised_floor_that_is_found_before_its_cause_is_reported() {
    let hub = Hub::with_plain_publications(MemoryJournal::new(1 << 20));
    let (node, other) = receiver(&hub, channel("chat.a")).await;
    other.publish_without_receipt(kept("chat.a", 1)).await;
    all_arrive(&node, &[1]).await;
    let present = replay(&node, "chat.a", ReplayFrom::Present)
        .await
        .present
        .unwrap();
    let resumed = replay(&node, "chat.a", ReplayFrom::After(present)).await;
    assert_eq!(resumed.unrecovered, None);
    hub.raise_floor(2);
    tokio::time::sleep(COMPARED).await;
    assert_eq!(
        reported(&node),
        [],
        "this node has received the events that raise it"
    );
    begin_new_term(&hub);
    eventually("it is reported", async || reported(&node) == [None]).await;
    tokio::time::sleep(COMPARED).await;
    assert_eq!(reported(&node), [None], "once");
}

fn begin_new_term(hub: &Hub) {
    let tick = format!(r#"{{"tick":[2,{BEGINS_ANEW}]}}"#);
    hub.publish(Subject::Nodes, tick.as_bytes());
}

/// The floor is known from the first compared cursor, although no last number is known yet.
#[tokio::test(start_paused = true)]
async fn a_floor_that_is_raised_after_a_resume_is_reported() {
    let hub = Hub::with_plain_publications(MemoryJournal::new(1 << 20));
    let node = hub.node("a").await;
    node.inbound.keeps.store(true, Relaxed);
    hub.refuse_requests(1); // for the last number
    node.hold_interest(channel("chat.a")).await;
    let epoch = hub
        .journal()
        .read(&query("chat.a", ReplayFrom::Present))
        .present
        .unwrap()
        .epoch;
    let start = ReplayFrom::After(Cursor { epoch, number: 0 });
    assert_eq!(replay(&node, "chat.a", start).await.unrecovered, None);
    assert!(node.broker.journal_is_new());
    hub.raise_floor(1);
    begin_new_term(&hub);
    eventually("it is reported", async || reported(&node) == [None]).await;
}

/// A message of another version that this version cannot read is a gap: it is reported in its place, and no earlier cursor is recovered.
/// Unknown fields of a message are ignored, and so are messages of unknown kinds.
#[tokio::test(start_paused = true)]
async fn a_kept_message_of_another_version_is_read_or_reported() {
    let hub = keeping();
    let (node, other) = receiver(&hub, channel("chat.a")).await;
    let added = br#"{"type":"t","payload":1,"more":{},"fanfare":{"id":"01a2293c-8a13-706b-9ad8-fed35af91284","node":"later",
        "timestamp":"2026-01-02T03:04:05Z","echo":7,"later":[1]}}"#;
    let unread = br#"{"type":"t","payload":0,"fanfare":{"private_to":{"group":"later"}}}"#;
    hub.publish_kept(&named("chat.a"), added, KEEP);
    all_arrive(&node, &[1]).await;
    let before = replay(&node, "chat.a", ReplayFrom::Present)
        .await
        .present
        .unwrap();
    hub.publish_kept(&named("chat.a"), unread, KEEP);
    other.publish_without_receipt(kept("chat.a", 2)).await;
    all_arrive(&node, &[1, 2]).await;
    assert_eq!(reported(&node), [Some(named("chat.a"))]);
    let between = Cursor { number: 2, ..before };
    for (cursor, expected) in [(before, Some(Unrecovered::Expired)), (between, None)] {
        let resumed = replay(&node, "chat.a", ReplayFrom::After(cursor)).await;
        assert_eq!(
            (resumed.unrecovered, resumed.events.len()),
            (expected, usize::from(expected.is_none()))
        );
    }
    // No client misses a message that every version refuses.
    let deep = ["[".repeat(200), "]".repeat(200)].concat();
    for refused in [&b"{\"type\":\"t\",\"payload\":\"\xff\"}"[..], deep.as_bytes()] {
        hub.publish_kept(&named("chat.a"), refused, KEEP);
    }
    other.publish_without_receipt(kept("chat.a", 3)).await;
    all_arrive(&node, &[1, 2, 3]).await;
    assert_eq!(reported(&node).len(), 1);
    let between = Cursor { number: 3, ..before };
    let resumed = replay(&node, "chat.a", ReplayFrom::After(between)).await;
    assert_eq!((resumed.unrecovered, resumed.events.len()), (None, 1));
    // The last message, which no other follows, is found once.
    hub.publish_kept(&named("chat.a"), unread, KEEP);
    tokio::time::sleep(COMPARED).await;
    assert_eq!(reported(&node).len(), 2);
    tokio::time::sleep(COMPARED).await;
    let figures = node.broker.journal_figures();
    assert_eq!(
        (reported(&node).len(), figures.gaps_found, figures.gaps_lost),
        (2, 3, 2)
    );
    let ignored = || -> u64 { node.broker.figures().ignored.iter().map(|(_, count)| count).sum() };
    let before = ignored();
    for later in [r#"{"tick":[9,1,"later"]}"#, r#"{"tock":9}"#] {
        hub.publish(Subject::Nodes, later.as_bytes());
    }
    other.publish_without_receipt(kept("chat.a", 4)).await;
    all_arrive(&node, &[1, 2, 3, 4]).await;
    assert_eq!(ignored(), before + 2);
}
