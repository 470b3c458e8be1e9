//! Presence when nodes die or pause, the server dies, or a node is cut off from it.

use std::{
    sync::mpsc,
    time::{Duration, Instant},
};

use fanfare_core::Interest;

use crate::{
    harness::{RECEIPT, eventually, to_channel},
    proxy::Proxy,
    rooms::{RoomNode, alternate, room, slot, users},
    server::RedisServer,
};

const ROOM: &str = "project:1";
const ROOMS: [&str; 1] = [ROOM];

/// Runs a node on separate threads, all of which a sleep blocks, like `kill -STOP`.
fn stopped_for(
    url: String,
    time: Duration,
) -> (
    mpsc::Receiver<String>,
    mpsc::Sender<()>,
    std::thread::JoinHandle<()>,
) {
    let (said, says) = mpsc::channel();
    let (go_on, wait) = mpsc::channel();
    let thread = std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .unwrap();
        runtime.block_on(async {
            let node = RoomNode::ready(&url, "paused", &ROOMS).await;
            node.entered(ROOM, "carol").await;
            node.entered(ROOM, "dave").await;
            assert!(node.broker.acquire_slot(slot("tab"), 1).await);
            node.shows(ROOM, "+carol +dave").await;
            said.send(String::new()).unwrap();
            // A change that is under way when the node stops.
            node.leave(ROOM, "dave");
            node.enter(ROOM, "erin");
            std::thread::sleep(time);
            node.connected().await;
            eventually("both are shown again", async || {
                let changes = node.changes(ROOM);
                changes.contains("+erin") && changes.matches("carol").count() != 2
            })
            .await;
            said.send(node.changes(ROOM)).unwrap();
            while wait.try_recv().is_err() {
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
            said.send(node.changes(ROOM)).unwrap();
        });
    });
    (says, go_on, thread)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_node_that_was_paused_beyond_its_lease_enters_its_members_again() {
    let server = RedisServer::start();
    let node = RoomNode::ready(&server.url(), "a", &ROOMS).await;
    node.entered(ROOM, "alice").await;
    let (says, go_on, thread) = stopped_for(server.url(), Duration::from_secs(12));
    let says = tokio::task::spawn_blocking(move || {
        says.recv().unwrap();
        says
    })
    .await
    .unwrap();
    eventually("it is forgotten", async || node.changes(ROOM).contains("-carol")).await;
    let says = tokio::task::spawn_blocking(move || {
        says.recv().unwrap();
        says
    })
    .await
    .unwrap();
    eventually("it is back", async || {
        node.changes(ROOM).matches("+carol").count() == 2
    })
    .await;
    tokio::time::sleep(Duration::from_secs(2)).await;
    go_on.send(()).unwrap();
    let others = tokio::task::spawn_blocking(move || says.recv().unwrap())
        .await
        .unwrap();
    thread.join().unwrap();
    let changes = node.changes(ROOM);
    for changes in [&changes, &others] {
        alternate(changes);
        let last = |user: &str| changes.rfind(&format!("+{user}")) > changes.rfind(&format!("-{user}"));
        assert!(last("carol") && last("erin"), "{changes}");
        assert!(!last("dave"), "no ghost stays: {changes}");
    }
    // The paused node has died: its members leave, and no record names its first lease.
    eventually("all are forgotten", async || {
        let changes = node.changes(ROOM);
        changes.matches("-carol").count() == 2 && changes.contains("-erin")
    })
    .await;
    let bob = node.entered(ROOM, "bob").await;
    assert_eq!(users(&bob), ["alice", "bob"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_change_is_announced_twice_when_redis_restarts_empty() {
    let mut server = RedisServer::start();
    let url = server.url();
    let (first, second, listener) = (
        RoomNode::ready(&url, "a", &ROOMS).await,
        RoomNode::ready(&url, "b", &ROOMS).await,
        RoomNode::ready(&url, "c", &ROOMS).await,
    );
    first.entered(ROOM, "alice").await;
    second.entered(ROOM, "bob").await;
    second.entered(ROOM, "carol").await;
    second.entered(ROOM, "dave").await;
    listener.shows(ROOM, "+alice +bob +carol +dave").await;
    server.kill();
    eventually("the outage is detected", async || {
        crate::rooms::is_away(&first).await && crate::rooms::is_away(&second).await
    })
    .await;
    // The node uses its own knowledge.
    second.leave(ROOM, "carol");
    let erin = second.entered(ROOM, "erin").await;
    assert_eq!(
        (erin.first, users(&erin)),
        (true, ["alice", "bob", "dave", "erin"].map(String::from).to_vec())
    );
    second.shows(ROOM, "+alice +bob +carol +dave -carol +erin").await;
    server.restart();
    for node in [&first, &second, &listener] {
        node.connected().await;
    }
    second.leave(ROOM, "dave");
    for node in [&first, &second] {
        eventually("all is known", async || {
            let changes = node.changes(ROOM);
            changes.contains("-carol") && changes.contains("+erin") && changes.contains("-dave")
        })
        .await;
    }
    second.leave(ROOM, "bob");
    alternate(&listener.changes(ROOM));
    for node in [&first, &second] {
        eventually("later changes, too", async || node.changes(ROOM).contains("-bob")).await;
        let changes = node.changes(ROOM);
        alternate(&changes);
        assert_eq!(changes.split(' ').count(), 8, "{changes}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_that_was_cut_off_catches_up() {
    let server = RedisServer::start();
    let proxy = Proxy::to(server.address()).await;
    let node = RoomNode::ready(&server.url(), "a", &ROOMS).await;
    let cut = RoomNode::ready(&proxy.url_to(&server.url()), "cut", &ROOMS).await;
    for user in ["alice", "bob"] {
        node.entered(ROOM, user).await;
    }
    for user in ["carol", "dave"] {
        cut.entered(ROOM, user).await;
    }
    for node in [&node, &cut] {
        node.shows(ROOM, "+alice +bob +carol +dave").await;
    }
    proxy.set_open(false);
    eventually("the outage is detected", async || {
        crate::rooms::is_away(&cut).await
    })
    .await;
    // Users join and leave on both sides.
    node.leave(ROOM, "bob");
    cut.leave(ROOM, "dave");
    assert!(cut.entered(ROOM, "erin").await.first);
    assert!(cut.broker.acquire_slot(slot("tab"), 1).await);
    eventually("it is forgotten", async || {
        let changes = node.changes(ROOM);
        changes.starts_with("+alice +bob +carol +dave -bob ")
            && changes.contains("-carol")
            && changes.contains("-dave")
    })
    .await;
    cut.shows(ROOM, "+alice +bob +carol +dave -dave +erin").await;
    node.entered(ROOM, "frank").await;
    proxy.set_open(true);
    eventually("the others learn of its members", async || {
        let changes = node.changes(ROOM);
        changes.matches("+carol").count() == 2 && changes.contains("+erin")
    })
    .await;
    eventually("it learns what it missed", async || {
        let changes = cut.changes(ROOM);
        changes.contains("-bob") && changes.contains("+frank")
    })
    .await;
    cut.connected().await;
    let changes = cut.changes(ROOM);
    assert_eq!(
        changes.matches("carol").count(),
        1,
        "nothing for the rest: {changes}"
    );
    assert_eq!(node.changes(ROOM).matches("dave").count(), 2);
    for node in [&node, &cut] {
        alternate(&node.changes(ROOM));
    }
    let zoe = node.entered(ROOM, "zoe").await;
    assert_eq!(users(&zoe), ["alice", "carol", "erin", "frank", "zoe"]);
    assert!(!node.broker.acquire_slot(slot("tab"), 1).await);
}

/// Only the receiving connection is lost, repeatedly, while users join and leave.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn members_are_shown_the_changes_that_their_node_missed() {
    let server = RedisServer::start();
    let url = server.url();
    let (first, second) = (
        RoomNode::ready(&url, "a", &ROOMS).await,
        RoomNode::ready(&url, "b", &ROOMS).await,
    );
    first.entered(ROOM, "alice").await;
    second.entered(ROOM, "bob").await;
    for kind in ["pubsub", "normal", "pubsub"] {
        for round in 0..60 {
            if round % 20 == 5 {
                server.command(&["CLIENT", "KILL", "TYPE", kind, "SKIPME", "yes"]);
            }
            let user = format!("u{}", round % 3);
            let node = [&first, &second][round / 3 % 2];
            node.enter(ROOM, &user);
            tokio::time::sleep(Duration::from_millis(5)).await;
            node.leave(ROOM, &user);
        }
    }
    let end = first.enter(ROOM, "end");
    first.answer(end).await;
    for node in [&first, &second] {
        eventually("all is shown", async || {
            let changes = node.changes(ROOM);
            let has_left =
                |user: &str| changes.rfind(&format!("+{user}")) <= changes.rfind(&format!("-{user}"));
            changes.contains("+end") && (0..3).all(|user| has_left(&format!("u{user}")))
        })
        .await;
        alternate(&node.changes(ROOM));
        node.connected().await;
    }
    let carol = second.entered(ROOM, "carol").await;
    assert_eq!(users(&carol), ["alice", "bob", "carol", "end"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn values_of_other_programs_are_ignored() {
    let server = RedisServer::start();
    for words in [
        &[
            "HSET",
            "fanfare:room:project:1",
            "mallory",
            "junk",
            "eve",
            "0123456789abcdef x {}",
            "",
            "no number",
        ][..],
        &[
            "HSET",
            "fanfare:room:project:1",
            "alice",
            "zz 1 {\"dialect\":\"rooms\"}\n\nfoo",
        ],
        &[
            "HSET",
            "fanfare:leases",
            "x",
            "1",
            "0123456789abcdef",
            "soon",
            "0123456789abcde0",
            "cleaning 1 x",
        ],
        &[
            "HSET",
            "fanfare:slot:name:broadcast:tab",
            "x",
            "9",
            "0123456789abcdef",
            "many",
        ],
        &["SET", "fanfare:room:project:2", "a string"],
        &["SET", "fanfare:slot:name:broadcast:text", "a string"],
        // A dead node's lease, and foreign entries in its index.
        &["HSET", "fanfare:leases", "00000000000000aa", "1"],
        &[
            "SADD",
            "fanfare:lease:00000000000000aa",
            "junk",
            "m\nonly",
            "m\n*\nx",
            "q\nx\ny",
            "s\nname:broadcast:tab",
        ],
    ] {
        server.command(words);
    }
    let names = [ROOM, "project:2"];
    let (first, second) = (
        RoomNode::ready(&server.url(), "a", &names).await,
        RoomNode::ready(&server.url(), "b", &names).await,
    );
    let alice = first.entered(ROOM, "alice").await;
    assert!(alice.first);
    assert_eq!(users(&alice), ["alice"]);
    second.shows(ROOM, "+alice").await;
    assert!(first.broker.acquire_slot(slot("tab"), 1).await);
    assert!(!second.broker.acquire_slot(slot("tab"), 1).await);
    eventually("the dead lease is cleaned", async || {
        let index = server.command(&["EXISTS", "fanfare:lease:00000000000000aa"]);
        index == redis::Value::Int(0)
    })
    .await;
    // A key of the wrong type is refused: the node uses its own knowledge.
    let bob = first.entered("project:2", "bob").await;
    assert_eq!((bob.first, users(&bob)), (true, vec!["bob".to_owned()]));
    assert!(first.broker.acquire_slot(slot("text"), 1).await);
    first.leave("project:2", "bob");
    server.command(&[
        "DEL",
        "fanfare:room:project:2",
        "fanfare:slot:name:broadcast:text",
    ]);
    first.connected().await;
    assert!(second.entered("project:2", "carol").await.first);
    first.shows("project:2", "+bob -bob +carol").await;
}

/// A hundred thousand members are entered again while events flow.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_members_are_entered_again_while_events_flow() {
    let server = RedisServer::start();
    let count: u32 = std::env::var("FANFARE_TEST_MEMBERS").map_or(20_000, |count| count.parse().unwrap());
    let node = RoomNode::ready(&server.url(), "a", &[]).await;
    let rooms: Vec<String> = (0..count / 10)
        .map(|number| format!("project:{number}"))
        .collect();
    let subscribed = rooms
        .iter()
        .map(|name| node.broker.subscribe(Interest::Channel(room(name))));
    futures_util::future::join_all(subscribed.collect::<Vec<_>>()).await;
    let start = Instant::now();
    for number in 0..count {
        node.enter(&format!("project:{}", number / 10), &format!("u{number}"));
    }
    let is_entered = async |count: u32| node.broker.presence_counts().entered >= u64::from(count);
    crate::rooms::within(120, "all are entered", async || is_entered(count).await).await;
    eprintln!("{count} members entered in {:?}", start.elapsed());
    node.connected().await;
    let announced = node.changes("project:0");
    assert_eq!(announced.matches('+').count(), 10);

    server.command(&["FLUSHALL"]);
    let start = Instant::now();
    let mut slowest = Duration::ZERO;
    crate::rooms::within(120, "all are entered again", async || {
        let sent = Instant::now();
        let receipts = node
            .broker
            .publish(vec![to_channel("project:0", "1")], RECEIPT)
            .await;
        slowest = slowest.max(sent.elapsed());
        assert!(!receipts[0].degraded, "events flow meanwhile");
        is_entered(2 * count).await
    })
    .await;
    eprintln!(
        "{count} members entered again in {:?}; the slowest event took {slowest:?}",
        start.elapsed()
    );
    let rooms = server.command(&["EVAL", "return #redis.call('KEYS', 'fanfare:room:*')", "0"]);
    assert_eq!(rooms, redis::Value::Int(i64::from(count / 10)));
    node.connected().await;
    assert_eq!(node.changes("project:0"), announced, "nothing is announced again");
}
