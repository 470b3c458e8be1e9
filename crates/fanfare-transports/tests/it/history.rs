//! The laws of history: the kept events, their order, and the recovery of missed events.

use std::time::Duration;

use fanfare_core::{
    Audience, Channel, Event, Interest, Pattern, UserId,
    history::{Cursor, Epoch, History, Position, Retention, Unrecovered},
    journal::{Replay, ReplayFrom, ReplayQuery, ReplayScope},
};

use crate::harness::{Cluster, Node, channel, eventually, to, to_channel, to_user};

const LONG: Duration = Duration::from_secs(600);

/// Returns `event` with a retention of the newest `size` events.
pub(crate) fn kept(event: Event, size: u32) -> Event {
    kept_for(event, size, LONG)
}

pub(crate) fn kept_for(event: Event, size: u32, ttl: Duration) -> Event {
    Event {
        history: History::Wanted(Retention { size, ttl }),
        ..event
    }
}

/// Returns the scope of a connection with these channels and patterns.
pub(crate) fn scope(channels: &[&str], patterns: &[&str]) -> ReplayScope {
    ReplayScope {
        channels: channels.iter().map(|name| Channel::new(name).unwrap()).collect(),
        patterns: patterns.iter().map(|text| Pattern::new(text).unwrap()).collect(),
        ..ReplayScope::default()
    }
}

pub(crate) async fn read(node: &Node, scope: ReplayScope, from: ReplayFrom) -> Replay {
    let limit = 1000;
    node.broker.replay(ReplayQuery { scope, from, limit }).await
}

pub(crate) async fn present(node: &Node) -> Cursor {
    let replay = read(node, ReplayScope::default(), ReplayFrom::Present).await;
    replay.present.unwrap()
}

pub(crate) fn data(replay: &Replay) -> Vec<&str> {
    replay.events.iter().map(|event| event.data.as_str()).collect()
}

pub(crate) fn position(event: &Event) -> Position {
    event.history.position().expect("it is kept")
}

/// Returns the position of an event, even if the event is only for connections without cursors.
fn any_position(event: &Event) -> Position {
    match event.history {
        History::Late(position) => position,
        _ => position(event),
    }
}

/// Returns the cursor that is `by` numbers before `cursor`.
fn back(cursor: Cursor, by: u64) -> Cursor {
    Cursor {
        number: cursor.number - by,
        ..cursor
    }
}

pub(crate) async fn kept_events_are_delivered_with_their_positions(cluster: &Cluster) {
    let nodes = cluster.nodes().await;
    for node in &nodes {
        node.hold("alice", 1).await;
        node.hold_interest(channel("chat.a"), 1).await;
    }
    let events = vec![
        kept(to_channel("chat.a", "1"), 10),
        to_channel("chat.a", "2"),
        kept(to_user("alice", "3"), 10),
        kept(to(Audience::Everyone, "4"), 10),
        kept(to_channel("chat.a", "5"), 10),
    ];
    nodes[0].broker.publish(events, crate::harness::RECEIPT).await;
    for node in &nodes {
        eventually("all have arrived", async || node.inbound.delivered().len() == 5).await;
        let seen = node.inbound.delivered();
        assert_eq!(node.inbound.data(), ["1", "2", "3", "4", "5"]);
        assert_eq!(seen[1].history, History::None, "it is not to be kept");
        let places = [0, 2, 3, 4].map(|at| position(&seen[at]));
        assert!(
            places.windows(2).all(|pair| pair[0].number < pair[1].number),
            "{places:?}"
        );
        assert!(places.windows(2).all(|pair| pair[0].epoch == pair[1].epoch));
        assert_eq!(
            places[3].prev, places[0].number,
            "the one before it of its audience"
        );
        assert_eq!(
            places,
            [0, 2, 3, 4].map(|at| position(&nodes[0].inbound.delivered()[at]))
        );
    }
    let all = ReplayScope {
        user: UserId::new("alice").ok(),
        everyone: true,
        ..scope(&["chat.a"], &[])
    };
    for node in &nodes {
        let epoch = present(node).await.epoch;
        let from = ReplayFrom::After(Cursor { epoch, number: 0 });
        let replay = read(node, all.clone(), from).await;
        assert_eq!(
            (data(&replay), replay.unrecovered),
            (vec!["1", "3", "4", "5"], None)
        );
        let seen = node.inbound.delivered();
        for (read, seen) in replay.events.iter().zip([0, 2, 3, 4].map(|at| &seen[at])) {
            assert_eq!(
                (read.id, &read.kind, read.history),
                (seen.id, &seen.kind, seen.history)
            );
            assert_eq!(
                (&read.audience, &read.private_to),
                (&seen.audience, &seen.private_to)
            );
        }
    }
}

pub(crate) async fn missed_events_are_read_in_order(cluster: &Cluster) {
    let nodes = cluster.nodes().await;
    let (first, last) = (&nodes[0], nodes.last().unwrap());
    first
        .publish_one(kept(to_channel("chat.a", "\"before\""), 10))
        .await;
    let cursor = present(last).await;
    for (at, name) in ["chat.b", "chat.a", "news", "chat.c.d"].into_iter().enumerate() {
        first
            .publish_one(kept(to_channel(name, &at.to_string()), 10))
            .await;
    }
    let cases: &[(&[&str], &[&str], &[&str])] = &[
        (&["chat.a"], &[], &["1"]),
        (&["chat.a", "news", "chat.a"], &[], &["1", "2"]),
        (&[], &["chat.*"], &["0", "1"]),
        (&["chat.b"], &["chat.**", "*"], &["0", "1", "2", "3"]),
        (&["silent"], &[], &[]),
        (&[], &["silent.**"], &[]),
    ];
    for (channels, patterns, expected) in cases {
        let replay = read(last, scope(channels, patterns), ReplayFrom::After(cursor)).await;
        assert_eq!(data(&replay), *expected, "{channels:?} {patterns:?}");
        assert_eq!(replay.unrecovered, None, "{channels:?} {patterns:?}");
    }
}

pub(crate) async fn removed_events_are_not_recovered(cluster: &Cluster) {
    let node = cluster.node("a").await;
    node.publish_one(kept(to_channel("quiet", "0"), 3)).await;
    let cursor = present(&node).await;
    for at in 0..5 {
        node.publish_one(kept(to_channel("busy", &at.to_string()), 3))
            .await;
    }
    let from = ReplayFrom::After(cursor);
    for (scope, expected) in [
        (scope(&["quiet"], &[]), None),
        (scope(&["busy"], &[]), Some(Unrecovered::Expired)),
        (scope(&["quiet", "busy"], &[]), Some(Unrecovered::Expired)),
        (scope(&[], &["**"]), Some(Unrecovered::Expired)),
        (scope(&[], &["quiet"]), None),
    ] {
        let replay = read(&node, scope.clone(), from).await;
        assert_eq!(
            (replay.unrecovered, replay.events.len()),
            (expected, 0),
            "{scope:?}"
        );
        assert!(replay.present.unwrap().number >= cursor.number + 5);
    }
    // A cursor needs the last event before the kept ones.
    let oldest = present(&node).await;
    let replay = read(&node, scope(&["busy"], &[]), ReplayFrom::After(back(oldest, 3))).await;
    assert_eq!((replay.unrecovered, data(&replay)), (None, vec!["2", "3", "4"]));
    let replay = read(&node, scope(&["busy"], &[]), ReplayFrom::After(back(oldest, 1))).await;
    assert_eq!((replay.unrecovered, data(&replay)), (None, vec!["4"]));
}

pub(crate) async fn expired_events_are_not_recovered_and_a_current_cursor_is(cluster: &Cluster) {
    let node = cluster.node("a").await;
    let short = Duration::from_millis(300);
    let before = present(&node).await;
    node.publish_one(kept_for(to_channel("chat.a", "1"), 10, short))
        .await;
    let after = present(&node).await;
    let on = || scope(&["chat.a"], &[]);
    eventually("it is too old", async || {
        read(&node, on(), ReplayFrom::Newest(10)).await.events.is_empty()
    })
    .await;
    let replay = read(&node, on(), ReplayFrom::After(before)).await;
    assert_eq!(replay.unrecovered, Some(Unrecovered::Expired));
    for scope in [on(), scope(&[], &["chat.*"])] {
        let replay = read(&node, scope, ReplayFrom::After(after)).await;
        assert_eq!((replay.unrecovered, replay.events.len()), (None, 0));
    }
}

pub(crate) async fn unknown_cursors_recover_nothing(cluster: &Cluster) {
    let node = cluster.node("a").await;
    node.publish_one(kept(to_channel("chat.a", "1"), 10)).await;
    let now = present(&node).await;
    let other = Cursor {
        epoch: Epoch(!now.epoch.0),
        number: 1,
    };
    let future = Cursor {
        number: now.number + 1000,
        ..now
    };
    let last = Cursor {
        number: u64::MAX,
        ..now
    };
    for (cursor, expected) in [
        (other, Unrecovered::Epoch),
        (future, Unrecovered::Unknown),
        (last, Unrecovered::Unknown),
    ] {
        let replay = read(&node, scope(&["chat.a"], &[]), ReplayFrom::After(cursor)).await;
        assert_eq!((replay.unrecovered, replay.events.len()), (Some(expected), 0));
        assert_eq!(replay.present, Some(now));
    }
}

pub(crate) async fn more_than_the_limit_is_not_replayed(cluster: &Cluster) {
    let node = cluster.node("a").await;
    let cursor = present(&node).await;
    for at in 0..4 {
        let name = ["chat.a", "chat.b"][at % 2];
        node.publish_one(kept(to_channel(name, &at.to_string()), 10))
            .await;
    }
    for (limit, expected) in [(3, Some(Unrecovered::Limit)), (4, None)] {
        let query = ReplayQuery {
            scope: scope(&[], &["chat.*"]),
            from: ReplayFrom::After(cursor),
            limit,
        };
        let replay = node.broker.replay(query).await;
        assert_eq!(replay.unrecovered, expected);
        assert_eq!(replay.events.len(), if expected.is_none() { 4 } else { 0 });
    }
}

pub(crate) async fn the_newest_events_are_read_without_a_cursor(cluster: &Cluster) {
    let node = cluster.node("a").await;
    for at in 0..6 {
        let name = ["chat.a", "chat.b", "news"][at % 3];
        node.publish_one(kept(to_channel(name, &at.to_string()), 10))
            .await;
    }
    let cases: &[(ReplayScope, ReplayFrom, &[&str])] = &[
        (scope(&["chat.a"], &[]), ReplayFrom::Newest(1), &["3"]),
        (
            scope(&["chat.a"], &[]),
            ReplayFrom::Newest(usize::MAX),
            &["0", "3"],
        ),
        (scope(&[], &["**"]), ReplayFrom::Newest(3), &["3", "4", "5"]),
        (
            scope(&["news"], &["chat.*"]),
            ReplayFrom::Newest(4),
            &["2", "3", "4", "5"],
        ),
        (scope(&[], &["chat.*"]), ReplayFrom::Newest(0), &[]),
        (scope(&["news"], &[]), ReplayFrom::Within(LONG), &["2", "5"]),
        (
            scope(&["news"], &[]),
            ReplayFrom::Within(Duration::MAX),
            &["2", "5"],
        ),
    ];
    for (scope, from, expected) in cases {
        let replay = read(&node, scope.clone(), *from).await;
        assert_eq!(
            (data(&replay), replay.unrecovered),
            (expected.to_vec(), None),
            "{from:?}"
        );
    }
}

pub(crate) async fn history_is_read_page_by_page(cluster: &Cluster) {
    let node = cluster.node("a").await;
    for at in 0..5 {
        node.publish_one(kept(to_channel("chat.a", &at.to_string()), 4))
            .await;
    }
    let mut found = Vec::new();
    for reverse in [false, true] {
        let mut since = None;
        loop {
            let query = ReplayQuery {
                scope: scope(&["chat.a"], &[]),
                from: ReplayFrom::Page { since, reverse },
                limit: 3,
            };
            let page = node.broker.replay(query).await;
            assert_eq!(page.unrecovered, None);
            let Some(last) = page.events.last() else { break };
            since = Some(position(last).cursor());
            found.extend(data(&page).into_iter().map(str::to_owned));
        }
    }
    assert_eq!(found, ["1", "2", "3", "4", "4", "3", "2", "1"]);
}

pub(crate) async fn events_of_all_nodes_are_numbered_in_one_order(cluster: &Cluster) {
    let nodes = cluster.nodes().await;
    for node in &nodes {
        node.hold_interest(Interest::AllChannels, 1).await;
    }
    let start = present(&nodes[0]).await;
    let publishing = nodes.iter().enumerate().map(|(publisher, node)| async move {
        for round in 0..30 {
            let name = format!("chat.{}", round % 5);
            let batch =
                (0..3).map(|at| kept(to_channel(&name, &format!("[{publisher},{round},{at}]")), 1000));
            node.broker
                .publish(batch.collect(), crate::harness::RECEIPT)
                .await;
        }
    });
    futures_util::future::join_all(publishing).await;
    let count = nodes.len() * 90;
    let from = ReplayFrom::After(start);
    let stored = read(&nodes[0], scope(&[], &["chat.*"]), from).await;
    assert_eq!((stored.unrecovered, stored.events.len()), (None, count));
    for node in &nodes {
        eventually("all have arrived", async || {
            node.inbound.delivered().len() == count
        })
        .await;
        let numbers = |events: &[Event]| {
            events
                .iter()
                .map(|event| position(event).number)
                .collect::<Vec<_>>()
        };
        let seen = node.inbound.delivered();
        let stored: Vec<Event> = stored.events.iter().map(|event| (**event).clone()).collect();
        assert_eq!(
            numbers(&seen),
            numbers(&stored),
            "delivered in the order of the numbers"
        );
        let ids = |events: &[Event]| events.iter().map(|event| event.id).collect::<Vec<_>>();
        assert_eq!(ids(&seen), ids(&stored));
    }
}

pub(crate) async fn private_events_keep_their_user(cluster: &Cluster) {
    let node = cluster.node("a").await;
    let cursor = present(&node).await;
    let event = Event {
        private_to: Some([UserId::new("alice").unwrap()].into()),
        readers_of: Channel::new("project:9").ok(),
        ..kept(to_channel("chat.a", "1"), 10)
    };
    node.publish_one(event.clone()).await;
    let replay = read(&node, scope(&["chat.a"], &[]), ReplayFrom::After(cursor)).await;
    let read = &replay.events[0];
    assert_eq!(
        (&read.private_to, &read.readers_of),
        (&event.private_to, &event.readers_of)
    );
}

/// The publisher's node delivers at once to connections that have just subscribed. Connections with cursors receive the event in order, or
/// with their replay: the journal is read after the event.
pub(crate) async fn an_event_on_a_new_subscription_has_its_position(cluster: &Cluster) {
    let node = cluster.node("a").await;
    for round in 0..30 {
        let name = format!("chat.{round}");
        let subscribing = node.hold_interest(channel(&name), 1);
        let publishing = node.publish_one(kept(to_channel(&name, "1"), 10));
        tokio::join!(subscribing, publishing);
    }
    node.publish_one(kept(to(Audience::Everyone, "\"end\""), 10))
        .await;
    let is_end = |event: &Event| event.audience == Audience::Everyone;
    eventually("all have arrived", async || {
        node.inbound.delivered().iter().any(is_end)
    })
    .await;
    let seen = node.inbound.delivered();
    let number = |event: &&Event| any_position(event).number;
    for with_cursors in [false, true] {
        let received = seen.iter().filter(|event| match event.history {
            History::Late(_) => !with_cursors,
            History::Again(_) => with_cursors,
            _ => true,
        });
        let numbers: Vec<u64> = received.map(|event| number(&event)).collect();
        let places: std::collections::BTreeSet<u64> = numbers.iter().copied().collect();
        assert_eq!(places.len(), numbers.len(), "each once");
        assert!(with_cursors || numbers.len() == 31, "{numbers:?}");
    }
}
