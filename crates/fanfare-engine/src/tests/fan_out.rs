//! Deliveries to many connections, and the deliveries between their chunks.

use std::{sync::atomic::Ordering::Relaxed, time::Duration};

use fanfare_core::{
    BoxFuture, Ending, Event, Inbound, Reach,
    history::{Retention, Since},
    policy::PolicyOptions,
};
use futures_util::future::join_all;

use super::{
    chance::Chance,
    client::Client,
    fakes::FakeAuthorizer,
    history, history_model,
    world::{MAX_RECEIVERS, Setup, World, event, in_world, on, settings, until},
};
use crate::{DialectSettings, connection::Connection};

/// Adds more than two chunks of connections that only receive.
const CROWD: usize = 600;

fn roomy() -> DialectSettings {
    DialectSettings {
        max_connections: 2 * CROWD,
        send_queue: 100_000,
        ..settings()
    }
}

/// Adds connections of one user.
async fn crowd(world: &World, user: &str) -> Vec<Client> {
    let mut crowd = Vec::new();
    for _ in 0..CROWD {
        crowd.push(world.connect(user).await);
    }
    crowd
}

/// Delivers an event to the node without a broker.
fn deliver(world: &World, event: Event) -> BoxFuture<'static, Vec<Reach>> {
    world.node.deliver(vec![event])
}

fn queued(reached: &[Vec<Reach>]) -> Vec<u64> {
    reached.iter().flatten().map(|reach| reach.queued).collect()
}

#[test]
fn an_event_for_one_connection_does_not_wait_for_fan_outs() {
    in_world(roomy(), |world| async move {
        let crowd = crowd(&world, "crowd").await;
        let (mut alice, mut bob) = (world.connect("alice").await, world.connect("crowd").await);
        assert_eq!(bob.ask("sub few").await, "sub: ok");
        let fan_outs: Vec<_> = (0..20)
            .map(|n| tokio::task::spawn_local(deliver(&world, event("crowd", "t", &n.to_string()))))
            .collect();
        let reached = deliver(&world, event("alice", "t", "\"alice\"")).await;
        assert_eq!(queued(&[reached]), [1]);
        let reached = deliver(&world, on("few", "\"few\"")).await;
        assert_eq!(queued(&[reached]), [1]);
        let done = fan_outs.iter().filter(|fan_out| fan_out.is_finished()).count();
        assert_eq!(done, 0, "both went between");
        alice.receives(&["\"alice\""]).await;
        // Earlier events come first, also for the connection that did not wait.
        for n in 0..20 {
            assert_eq!(bob.text().await, n.to_string());
        }
        bob.receives(&["\"few\""]).await;
        for fan_out in fan_outs {
            assert_eq!(queued(&[fan_out.await.unwrap()]), [CROWD as u64 + 1]);
        }
        for mut client in crowd.into_iter().step_by(100) {
            for n in 0..20 {
                assert_eq!(client.text().await, n.to_string());
            }
            client.receives_no_more().await;
        }
        bob.receives_no_more().await;
    });
}

#[test]
fn a_connection_in_the_slot_of_a_removed_receiver_does_not_receive_its_events() {
    in_world(roomy(), |world| async move {
        let mut crowd = crowd(&world, "crowd").await;
        let all = (0..10).map(|n| event(["crowd", "*"][n % 2], "t", "1")).collect();
        let fan_outs = tokio::task::spawn_local(world.node.deliver(all));
        while world.shard.fan_outs.borrow().is_empty() {
            tokio::task::yield_now().await;
        }
        let last = crowd.pop().unwrap();
        drop(last);
        while world.shard.len() == CROWD {
            tokio::task::yield_now().await;
        }
        let mut alice = world.connect("alice").await;
        alice.receives_no_more().await;
        assert!(!fan_outs.is_finished());
        let reached = queued(&[fan_outs.await.unwrap()]);
        assert_eq!(reached[9], CROWD as u64 - 1);
        alice.receives_no_more().await;
    });
}

#[test]
fn answers_follow_earlier_events() {
    in_world(roomy(), |world| async move {
        let _crowd = crowd(&world, "crowd").await;
        let mut bob = world.connect("crowd").await;
        assert_eq!(bob.ask("sub few").await, "sub: ok");
        let fan_out = tokio::task::spawn_local(deliver(&world, event("crowd", "t", "1")));
        while world.shard.fan_outs.borrow().is_empty() {
            tokio::task::yield_now().await;
        }
        bob.say("unsub few").await;
        bob.receives(&["1", "unsub: ok"]).await;
        assert!(!fan_out.is_finished());
        fan_out.await.unwrap();
        // The same if the answer is slow.
        world.broker.confirms.shut();
        bob.say("sub few").await;
        until(|| world.waiting() == 1).await;
        let fan_out = tokio::task::spawn_local(deliver(&world, event("crowd", "t", "2")));
        while world.shard.fan_outs.borrow().is_empty() {
            tokio::task::yield_now().await;
        }
        world.broker.confirm();
        bob.receives(&["2", "sub: ok"]).await;
        fan_out.await.unwrap();
        bob.receives_no_more().await;
    });
}

#[test]
fn a_connection_that_is_ended_receives_earlier_events() {
    in_world(roomy(), |world| async move {
        let _crowd = crowd(&world, "crowd").await;
        let mut bob = world.connect("bob").await;
        let fan_out = tokio::task::spawn_local(deliver(&world, event("*", "t", "1")));
        while world.shard.fan_outs.borrow().is_empty() {
            tokio::task::yield_now().await;
        }
        let is_bobs = |own: &Connection| {
            own.subscriber
                .identity
                .as_ref()
                .is_some_and(|own| &*own.user == "bob")
        };
        assert_eq!(world.shard.end_matching(Ending::Dismissed, is_bobs), 1);
        assert_eq!(queued(&[fan_out.await.unwrap()]), [CROWD as u64 + 1]);
        assert_eq!(bob.text().await, "1");
        assert_eq!(bob.close().await.0, 1008);
    });
}

#[test]
fn an_event_that_waits_for_the_authorizer_does_not_overtake_a_fan_out() {
    for has_cursors in [false, true] {
        let authorizer = FakeAuthorizer::new(true);
        let setup = Setup {
            settings: roomy(),
            policy: history::asking(),
            ..Setup::asking(&authorizer)
        };
        setup.run(|world| async move {
            let _crowd = crowd(&world, "crowd").await;
            let mut bob = world.connect("crowd").await;
            let ask = if has_cursors { "sub-since now **" } else { "sub **" };
            assert!(bob.ask(ask).await.contains(": ok"));
            authorizer.gate.shut();
            let fan_out = tokio::task::spawn_local(deliver(&world, event("crowd", "t", "1")));
            let late = tokio::task::spawn_local(deliver(&world, on("chat.a", "2")));
            while authorizer.asked().is_empty() {
                tokio::task::yield_now().await;
            }
            authorizer.gate.open();
            bob.receives(&["1", "2"]).await;
            fan_out.await.unwrap();
            late.await.unwrap();
            bob.receives_no_more().await;
        });
    }
}

#[test]
fn the_receivers_of_fan_outs_are_limited() {
    in_world(roomy(), |world| async move {
        let _crowd = crowd(&world, "crowd").await;
        let count = MAX_RECEIVERS / CROWD + 100;
        let all = (0..count).map(|n| event(["crowd", "*"][n % 2], "t", "1"));
        let fan_outs = tokio::task::spawn_local(world.node.deliver(all.collect()));
        let mut most = 0;
        while !fan_outs.is_finished() {
            most = most.max(world.shard.fan_outs.borrow().receivers());
            tokio::task::yield_now().await;
        }
        assert!((MAX_RECEIVERS..MAX_RECEIVERS + CROWD).contains(&most), "{most}");
        assert!(world.node.counters.fan_outs_full.load(Relaxed) > 0);
        assert_eq!(queued(&[fan_outs.await.unwrap()]), vec![CROWD as u64; count]);
    });
}

#[test]
fn a_drain_follows_earlier_fan_outs() {
    in_world(roomy(), |world| async move {
        let mut crowd = crowd(&world, "crowd").await;
        let fan_out = tokio::task::spawn_local(deliver(&world, event("crowd", "t", "1")));
        while world.shard.fan_outs.borrow().is_empty() {
            tokio::task::yield_now().await;
        }
        world.node.drain(Duration::ZERO);
        assert_eq!(queued(&[fan_out.await.unwrap()]), [CROWD as u64]);
        for client in &mut crowd {
            assert_eq!(client.text().await, "1");
        }
    });
}

/// The audiences of the events; the first two have many connections.
const AUDIENCES: [&str; 5] = ["*", "chat.wide", "chat.few", "chat.one", "alice"];

/// The published events: the audience of each, and its number in the journal. Its data is its index in this list.
type Published = Vec<(usize, u64)>;

async fn publish(
    world: &World,
    published: &mut Published,
    chance: &mut Chance,
) -> BoxFuture<'static, Vec<Reach>> {
    let audience = chance.below(AUDIENCES.len());
    let (to, data) = (AUDIENCES[audience], published.len().to_string());
    let mut events = vec![if to.contains('.') {
        on(to, &data)
    } else {
        event(to, "t", &data)
    }];
    world.node.access.mark_history(&mut events);
    let delivered = world
        .broker
        .journal
        .append(events, |events| world.node.deliver(events));
    published.push((audience, world.present().number));
    for _ in 0..chance.below(3) {
        tokio::task::yield_now().await;
    }
    delivered
}

/// Reads all messages that the client has received.
async fn drained(client: &mut Client) -> Vec<String> {
    client.say("no more").await;
    let mut texts = Vec::new();
    loop {
        match client.text().await {
            text if text == "no more" => return texts,
            text => texts.push(text),
        }
    }
}

/// Returns the index of the event that `text` shows; `None` for an answer.
fn place_of(text: &str) -> Option<usize> {
    text.split('@').next()?.parse().ok()
}

fn places(texts: &[String]) -> Vec<usize> {
    texts.iter().filter_map(|text| place_of(text)).collect()
}

/// Each connection of alice receives its events once and in the order of publication, among random commands.
#[test]
fn every_connection_receives_events_in_the_order_of_their_publication() {
    history_model::play_for(3, |seed| {
        let keep = Retention {
            size: 100_000,
            ttl: Duration::from_secs(3600),
        };
        let setup = Setup {
            settings: roomy(),
            policy: PolicyOptions {
                users: Some(keep),
                everyone: Some(keep),
                ..history_model::policy(keep)
            },
            ..Setup::default()
        };
        setup.run(|world| play(world, Chance(seed)));
    });
}

async fn play(world: World, mut chance: Chance) {
    let mut crowd = crowd(&world, "crowd").await;
    for client in &mut crowd {
        client.say("sub chat.wide").await;
    }
    for client in &mut crowd {
        client.receives(&["sub: ok"]).await;
    }
    let mut published = Published::new();
    let mut stays = world.connect("alice").await;
    assert!(
        stays
            .ask("sub-since now chat.*")
            .await
            .starts_with("sub-since: ok")
    );
    let mut fickle = world.connect("alice").await;
    let (mut has_few, mut cursor) = (false, world.present());
    for _ in 0..8 {
        let (before, had_it) = (published.len(), has_few);
        let mut delivered = Vec::new();
        for _ in 0..chance.below(20) {
            delivered.push(publish(&world, &mut published, &mut chance).await);
        }
        let since = Since::resume(&cursor.to_string());
        let mut resumes = world.connect_since("alice", since).await;
        resumes
            .say(&format!("sub-since {cursor} chat.wide chat.one"))
            .await;
        for _ in 0..chance.below(4) {
            has_few = !has_few;
            fickle
                .say(if has_few { "sub chat.few" } else { "unsub chat.few" })
                .await;
            delivered.push(publish(&world, &mut published, &mut chance).await);
        }
        for _ in 0..chance.below(20) {
            delivered.push(publish(&world, &mut published, &mut chance).await);
        }
        join_all(delivered).await;
        let expected = |shown: &[usize], is_new: &dyn Fn(usize) -> bool| -> Vec<usize> {
            let is_it = |at: &usize| is_new(*at) && shown.contains(&published[*at].0);
            (0..published.len()).filter(is_it).collect()
        };
        let in_round = |at: usize| at >= before;
        assert_eq!(
            places(&drained(&mut stays).await),
            expected(&[0, 1, 2, 3, 4], &in_round)
        );
        let texts = drained(&mut resumes).await;
        let mut received = places(&texts);
        received.sort_unstable(); // the missed events follow two answers
        let is_missed = |at: usize| published[at].1 > cursor.number;
        assert_eq!(
            received,
            expected(&[0, 1, 3, 4], &is_missed),
            "{texts:?} {published:?}"
        );
        cursor = world.present();
        let received = drained(&mut fickle).await;
        let always = expected(&[0, 4], &in_round);
        assert_fickle(&received, &published, had_it, &always);
    }
}

/// Checks the events of a connection that subscribes to one channel and unsubscribes again. In order, it must receive all events
/// that it `always` receives, and those on the channel between its two answers.
fn assert_fickle(received: &[String], published: &Published, mut has_few: bool, always: &[usize]) {
    let places = places(received);
    assert!(places.is_sorted_by(|one, next| one < next), "{received:?}");
    let is_always = |at: &&usize| published[**at].0 != 2;
    assert!(
        places.iter().filter(is_always).eq(always),
        "{received:?} {always:?}"
    );
    for text in received {
        match place_of(text) {
            None => has_few = text == "sub: ok",
            Some(at) => assert!(has_few || published[at].0 != 2, "{received:?}"),
        }
    }
}
