//! The laws of presence: who is in a room is counted over all nodes, and each is announced once.

use std::time::{Duration, Instant};

use rand::Rng;

use crate::{
    harness::eventually,
    rooms::{Line, RoomNode, alternate, room, slot, users},
    server::RedisServer,
};

const ROOM: &str = "project:1";

async fn nodes<const N: usize>(server: &RedisServer) -> [RoomNode; N] {
    let names = ["a", "b", "c"];
    let url = server.url();
    let nodes = (0..N).map(|at| RoomNode::ready(&url, names[at], &[ROOM]));
    let nodes = futures_util::future::join_all(nodes.collect::<Vec<_>>()).await;
    nodes.try_into().ok().unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_user_joins_with_the_first_connection_and_leaves_with_the_last() {
    let server = RedisServer::start();
    let [first, second] = nodes(&server).await;
    let entered = first.entered(ROOM, "alice").await;
    assert!(entered.first);
    assert_eq!(users(&entered), ["alice"]);
    for node in [&first, &second] {
        node.shows(ROOM, "+alice").await;
    }
    let again = first.entered(ROOM, "alice").await;
    let elsewhere = second.entered(ROOM, "alice").await;
    assert_eq!((again.first, elsewhere.first), (false, false));
    let bob = second.entered(ROOM, "bob").await;
    assert!(bob.first);
    assert_eq!(users(&bob), ["alice", "bob"]);
    let name = |member: &fanfare_core::Member| member.username.clone();
    let members = bob.members.as_ref().unwrap();
    assert!(
        members
            .iter()
            .all(|member| name(member).is_some_and(|name| name.ends_with("'s name")))
    );
    first.leave(ROOM, "alice");
    first.leave(ROOM, "alice");
    first.leave(ROOM, "nobody");
    second.leave(ROOM, "bob");
    for node in [&first, &second] {
        node.shows(ROOM, "+alice +bob -bob").await;
    }
    assert_eq!((first.broker.rooms(), second.broker.rooms()), (0, 1));
    let present = second.broker.present(&room(ROOM));
    assert_eq!((present.len(), present[0].connections), (1, 1));
    assert!(present[0].since_ms > 1_600_000_000_000);
    second.leave(ROOM, "alice");
    for node in [&first, &second] {
        node.shows(ROOM, "+alice +bob -bob -alice").await;
    }
    let keys = server.command(&["KEYS", "fanfare:room:*"]);
    assert_eq!(
        keys,
        redis::Value::Array(Vec::new()),
        "an empty room takes no space"
    );
}

/// The joiner's own announcement, and all that comes after the list, is shown to it; nothing that is in the list.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_list_and_what_follows_fit_together() {
    let server = RedisServer::start();
    let [first, second, third] = nodes(&server).await;
    let url = server.url();
    let churn = async {
        for round in 0..200 {
            let node = [&first, &second][round % 2];
            let user = format!("u{}", round % 5);
            node.entered(ROOM, &user).await;
            node.leave(ROOM, &user);
        }
    };
    let watch = async {
        let mut seen = 0;
        for round in 0..60 {
            let ticket = third.enter(ROOM, "carol");
            let entered = third.answer(ticket).await;
            tokio::time::sleep(Duration::from_millis(round % 7)).await;
            let log = third.shown.log();
            let after = log
                .iter()
                .skip_while(|line| **line != Line::Entered(ticket))
                .skip(1);
            let mut present: Vec<String> = users(&entered)
                .into_iter()
                .filter(|user| user != "carol")
                .collect();
            for line in after {
                match line {
                    Line::Joined(_, user) if user != "carol" => {
                        assert!(!present.contains(user), "{user} joined twice");
                        present.push(user.clone());
                    }
                    Line::Left(_, user) if user != "carol" => {
                        assert!(present.contains(user), "{user} left and was not there");
                        present.retain(|other| other != user);
                    }
                    _ => {}
                }
                seen += 1;
            }
            third.leave(ROOM, "carol");
        }
        seen
    };
    let ((), seen) = tokio::join!(churn, watch);
    assert!(seen > 60, "{seen}");
    drop(url);
}

/// Users come and go on three nodes at once: every node shows the same changes in the same order, and each user joins and
/// leaves in turn.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn all_nodes_show_one_order() {
    let server = RedisServer::start();
    let nodes: [RoomNode; 3] = nodes(&server).await;
    for (node, user) in nodes.iter().zip(["x", "y", "z"]) {
        node.entered(ROOM, user).await;
    }
    let storms = nodes.iter().map(|node| async move {
        for _ in 0..300 {
            let user = format!("u{}", rand::rng().random_range(0..4));
            node.enter(ROOM, &user);
            if rand::rng().random_bool(0.5) {
                tokio::time::sleep(Duration::from_micros(rand::rng().random_range(0..3000))).await;
            }
            node.leave(ROOM, &user);
        }
    });
    futures_util::future::join_all(storms).await;
    for (at, node) in nodes.iter().enumerate() {
        node.entered(ROOM, &format!("end{at}")).await;
    }
    for node in &nodes {
        eventually("the end is shown", async || {
            let changes = node.changes(ROOM);
            (0..3).all(|at| changes.contains(&format!("+end{at}")))
        })
        .await;
    }
    let all: Vec<String> = nodes.iter().map(|node| node.changes(ROOM)).collect();
    // From where the last of the three nodes has a member.
    let common = all.iter().map(|changes| &changes[changes.find("+z").unwrap()..]);
    let common: Vec<&str> = common.collect();
    assert!(common[0].split(' ').count() > 100, "{}", common[0].len());
    assert_eq!(common[0], common[1]);
    assert_eq!(common[0], common[2]);
    alternate(common[0]);
    let present = |user: &str| {
        common[0].matches(&format!("+{user} ")).count() == common[0].matches(&format!("-{user} ")).count()
    };
    assert!((0..4).all(|user| present(&format!("u{user}"))));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn slots_are_counted_over_all_nodes() {
    let server = RedisServer::start();
    let [first, second] = nodes(&server).await;
    assert!(first.broker.acquire_slot(slot("tab"), 1).await);
    assert!(!second.broker.acquire_slot(slot("tab"), 1).await);
    assert!(second.broker.acquire_slot(slot("other"), 1).await);
    first.broker.release_slot(slot("tab"));
    eventually("it is free", async || {
        second.broker.acquire_slot(slot("tab"), 1).await
    })
    .await;
    assert!(!first.broker.acquire_slot(slot("tab"), 1).await);

    // Of many who want one of three places at once, three get it.
    let wanting = (0..20).map(|at| {
        let node = [&first, &second][at % 2];
        node.broker.acquire_slot(slot("three"), 3)
    });
    let granted = futures_util::future::join_all(wanting.collect::<Vec<_>>()).await;
    assert_eq!(granted.iter().filter(|granted| **granted).count(), 3);
    assert_eq!(
        first.broker.presence_counts().refused_slots > 0,
        granted.iter().step_by(2).any(|granted| !granted)
    );

    // One that is not waited for is given back.
    drop(first.broker.acquire_slot(slot("dropped"), 1));
    eventually("it is free", async || {
        second.broker.acquire_slot(slot("dropped"), 1).await
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn any_name_is_a_name() {
    let server = RedisServer::start();
    let long = "x".repeat(255);
    let long_room = format!("project:{}", "y".repeat(247));
    let names = [
        "project:{a}b",
        "project:a b",
        "project:}{",
        &long_room,
        "project:\u{1f3ba}\"\\",
    ];
    let (first, second) = (
        RoomNode::ready(&server.url(), "a", &names).await,
        RoomNode::ready(&server.url(), "b", &names).await,
    );
    for name in names {
        let odd = ["a b", "{b}", "\"\\ {} 1", "0000000000000001 1 {}", &long];
        for user in odd {
            assert!(first.entered(name, user).await.first, "{name} {user}");
        }
        let entered = second.entered(name, "bob").await;
        let mut expected = odd.to_vec();
        expected.push("bob");
        expected.sort_unstable();
        assert_eq!(users(&entered), expected, "{name}");
        for user in odd {
            first.leave(name, user);
        }
        eventually("all have left", async || {
            second
                .shown
                .log()
                .iter()
                .filter(|line| matches!(line, Line::Left(room, _) if room == name))
                .count()
                == odd.len()
        })
        .await;
    }
    for name in ["a\nb", "", "{x}", &long, "\0"] {
        assert!(first.broker.acquire_slot(slot(name), 1).await, "{name:?}");
        assert!(!second.broker.acquire_slot(slot(name), 1).await, "{name:?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_that_ends_releases_what_it_holds_at_once() {
    let server = RedisServer::start();
    let [first, second] = nodes(&server).await;
    first.entered(ROOM, "alice").await;
    second.entered(ROOM, "bob").await;
    assert!(first.broker.acquire_slot(slot("tab"), 1).await);
    second.shows(ROOM, "+alice +bob").await;
    let start = Instant::now();
    first.broker.close().await;
    second.shows(ROOM, "+alice +bob -alice").await;
    assert!(second.broker.acquire_slot(slot("tab"), 1).await);
    assert!(
        start.elapsed() < Duration::from_secs(4),
        "well before the lease expires"
    );
    drop(first);
    tokio::time::sleep(Duration::from_millis(200)).await;
    let leases = server.command(&["HLEN", "fanfare:leases"]);
    assert_eq!(leases, redis::Value::Int(1));
}
