//! The laws of presence: members of a room are counted over all nodes, and each change is announced once.

use std::time::{Duration, Instant};

use rand::Rng;

use crate::{
    harness::{Cluster, eventually},
    rooms::{Line, RoomNode, alternate, room, slot, users},
};

const ROOM: &str = "project:1";

/// Returns the nodes, and the index of the last one: on a broker for one node, it is also the first.
async fn ends(cluster: &Cluster) -> (Vec<RoomNode>, usize) {
    let nodes = RoomNode::on(cluster, &[ROOM]).await;
    let last = nodes.len() - 1;
    (nodes, last)
}

/// Returns nodes that count together; `None` on a broker for one node.
async fn several(cluster: &Cluster, rooms: &[&str]) -> Option<[RoomNode; 3]> {
    RoomNode::on(cluster, rooms).await.try_into().ok()
}

pub(crate) async fn a_user_joins_with_the_first_connection_and_leaves_with_the_last(cluster: &Cluster) {
    let (nodes, last) = ends(cluster).await;
    let (first, second) = (&nodes[0], &nodes[last]);
    let entered = first.entered(ROOM, "alice").await;
    assert!(entered.first);
    assert_eq!(users(&entered), ["alice"]);
    for node in [first, second] {
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
    first.leave(ROOM, "zed");
    second.leave(ROOM, "bob");
    for node in [first, second] {
        node.shows(ROOM, "+alice +bob -bob").await;
    }
    assert_eq!(
        (first.broker.rooms(), second.broker.rooms()),
        (usize::from(last == 0), 1)
    );
    let present = second.broker.present(&room(ROOM));
    assert_eq!((present.len(), present[0].connections), (1, 1));
    assert!(present[0].since_ms > 1_600_000_000_000);
    second.leave(ROOM, "alice");
    for node in &nodes {
        node.shows(ROOM, "+alice +bob -bob -alice").await;
    }
    if let Cluster::Redis(server) = cluster {
        let keys = server.command(&["KEYS", "fanfare:room:*"]);
        assert_eq!(
            keys,
            redis::Value::Array(Vec::new()),
            "an empty room takes no space"
        );
    }
}

/// A new member is shown its own announcement and all changes after the list, and no change that is in the list.
pub(crate) async fn the_list_and_later_changes_are_consistent(cluster: &Cluster) {
    let (nodes, last) = ends(cluster).await;
    let third = &nodes[last];
    let churn = async {
        for round in 0..200 {
            let node = &nodes[round % nodes.len().min(2)];
            let user = format!("u{}", round % 5);
            node.entered(ROOM, &user).await;
            node.leave(ROOM, &user);
            tokio::time::sleep(Duration::from_micros(500)).await;
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
                        assert!(
                            !present.contains(user),
                            "{user} joined twice: {log:?} {entered:?}"
                        );
                        present.push(user.clone());
                    }
                    Line::Left(_, user) if user != "carol" => {
                        assert!(
                            present.contains(user),
                            "{user} left and was not there: {log:?} {entered:?}"
                        );
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
}

/// A connection may subscribe to a room's channel without being a member. It receives each change, even if the node's own users leave and
/// return at once.
pub(crate) async fn a_subscriber_outside_the_room_misses_no_change(cluster: &Cluster) {
    let (nodes, last) = ends(cluster).await;
    let node = &nodes[last];
    for _ in 0..30 {
        node.entered(ROOM, "carol").await;
        node.leave(ROOM, "carol");
    }
    let expected = ["+carol -carol"; 30].join(" ");
    node.shows(ROOM, &expected).await;
    nodes[0].shows(ROOM, &expected).await;
}

/// Users join and leave on three nodes at the same time. Every node shows the same changes in one order, and each user joins and leaves in
/// turn.
pub(crate) async fn all_nodes_show_changes_in_one_order(cluster: &Cluster) {
    let nodes = RoomNode::on(cluster, &[ROOM]).await;
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
            (0..nodes.len()).all(|at| changes.contains(&format!("+end{at}")))
        })
        .await;
    }
    let all: Vec<String> = nodes.iter().map(|node| node.changes(ROOM)).collect();
    assert!(all[0].split(' ').count() > 100, "{}", all[0].len());
    for changes in &all {
        assert_eq!(*changes, all[0]);
    }
    alternate(&all[0]);
    let count = |change: String| all[0].matches(&change).count();
    for user in 0..4 {
        assert_eq!(count(format!("+u{user} ")), count(format!("-u{user} ")));
    }
}

/// More nodes than can change one record at the same time: each change succeeds in the end, and no node falls back to its own judgement.
pub(crate) async fn many_nodes_change_one_room(cluster: &Cluster) {
    let nodes = RoomNode::many(cluster, 20, &[ROOM]).await;
    for (at, node) in nodes.iter().enumerate() {
        node.entered(ROOM, &format!("stays{at}")).await;
    }
    let storms = nodes.iter().map(|node| async move {
        for round in 0..40 {
            let user = format!("u{}", round % 4);
            node.entered(ROOM, &user).await;
            node.leave(ROOM, &user);
        }
    });
    let slowest = slowest_sleep_during(futures_util::future::join_all(storms)).await;
    for (at, node) in nodes.iter().enumerate() {
        assert!(node.entered(ROOM, &format!("end{at}")).await.first);
    }
    for node in &nodes {
        eventually("the end is shown", async || {
            let changes = node.changes(ROOM);
            (0..nodes.len()).all(|at| changes.contains(&format!("+end{at}")))
        })
        .await;
        alternate(&node.changes(ROOM));
    }
    // A node that compared the room with the store was cut off from it, and showed its connections only the difference. Only an overloaded
    // machine causes that: an answer may take a second.
    let (cut_off, steady): (Vec<_>, Vec<_>) = nodes
        .iter()
        .partition(|node| node.broker.presence_counts().compared_rooms > 0);
    assert!(
        cut_off.is_empty() || slowest > Duration::from_millis(100),
        "{} nodes judged alone, though a sleep took {slowest:?} at most",
        cut_off.len()
    );
    for node in &steady {
        assert_eq!(node.changes(ROOM), steady[0].changes(ROOM));
    }
}

/// Returns the longest delay among many short sleeps during `work`.
async fn slowest_sleep_during<T>(work: impl Future<Output = T>) -> Duration {
    let pause = Duration::from_millis(5);
    let slowest = std::sync::Mutex::new(Duration::ZERO);
    let sleeps = async {
        loop {
            let start = Instant::now();
            tokio::time::sleep(pause).await;
            let mut slowest = slowest.lock().unwrap();
            *slowest = (*slowest).max(start.elapsed().saturating_sub(pause));
        }
    };
    tokio::select! {
        _ = work => {}
        never = sleeps => never,
    }
    slowest.into_inner().unwrap()
}

pub(crate) async fn slots_are_counted_over_all_nodes(cluster: &Cluster) {
    let Some([first, second, _third]) = several(cluster, &[ROOM]).await else {
        return;
    };
    assert!(first.broker.acquire_slot(slot("tab"), 1).await);
    assert!(!second.broker.acquire_slot(slot("tab"), 1).await);
    assert!(second.broker.acquire_slot(slot("other"), 1).await);
    first.broker.release_slot(slot("tab"));
    eventually("it is free", async || {
        second.broker.acquire_slot(slot("tab"), 1).await
    })
    .await;
    assert!(!first.broker.acquire_slot(slot("tab"), 1).await);

    // Of many connections that want one of three places at once, three get it.
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

    // A place whose caller is dropped is released.
    drop(first.broker.acquire_slot(slot("dropped"), 1));
    eventually("it is free", async || {
        second.broker.acquire_slot(slot("dropped"), 1).await
    })
    .await;
}

pub(crate) async fn rooms_users_and_slots_may_have_any_name(cluster: &Cluster) {
    let long = "x".repeat(255);
    let long_room = format!("project:{}", "y".repeat(247));
    let names = [
        "project:{a}b",
        "project:a b",
        "project:}{",
        &long_room,
        "project:\u{1f3ba}\"\\",
    ];
    let Some([first, second, _third]) = several(cluster, &names).await else {
        return;
    };
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

pub(crate) async fn a_node_that_shuts_down_releases_its_members_and_slots_at_once(cluster: &Cluster) {
    let Some([first, second, third]) = several(cluster, &[ROOM]).await else {
        return;
    };
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
    // There is no lease left to clean.
    tokio::time::sleep(Duration::from_secs(8)).await;
    assert_eq!(second.changes(ROOM).matches("-alice").count(), 1);
    let cleaned = [&second, &third].map(|node| node.broker.presence_counts().cleaned_leases);
    assert_eq!(cleaned, [0, 0]);
}

pub(crate) async fn members_of_a_dead_node_leave_once_within_ten_seconds(cluster: &Cluster) {
    let Some([dead, first, second]) = several(cluster, &[ROOM]).await else {
        return;
    };
    first.entered(ROOM, "alice").await;
    second.entered(ROOM, "bob").await;
    for user in ["alice", "carol", "dave"] {
        dead.entered(ROOM, user).await;
    }
    assert!(dead.broker.acquire_slot(slot("tab"), 1).await);
    second.shows(ROOM, "+alice +bob +carol +dave").await;

    // Its tasks are aborted, and its connections closed.
    drop(dead);
    let died = Instant::now();
    for node in [&first, &second] {
        eventually("both are gone", async || {
            let changes = node.changes(ROOM);
            changes.contains("-carol") && changes.contains("-dave")
        })
        .await;
    }
    let after = died.elapsed();
    eprintln!("a dead node was forgotten after {after:?}");
    assert!(after < Duration::from_secs(10), "{after:?}");
    eventually("its slot is free", async || {
        second.broker.acquire_slot(slot("tab"), 1).await
    })
    .await;
    // A second announcement would arrive now, such as another survivor's.
    tokio::time::sleep(Duration::from_secs(2)).await;
    for node in [&first, &second] {
        let changes = node.changes(ROOM);
        assert_eq!(
            (
                changes.matches("-carol").count(),
                changes.matches("-dave").count()
            ),
            (1, 1)
        );
        assert!(
            !changes.contains("-alice"),
            "she is there through another node: {changes}"
        );
        alternate(&changes);
    }
    let cleaned = [&first, &second].map(|node| node.broker.presence_counts().cleaned_leases);
    assert_eq!(cleaned.iter().sum::<u64>(), 1);
    if let Cluster::Redis(server) = cluster {
        let keys = server.command(&["KEYS", "fanfare:lease:*"]);
        let redis::Value::Array(keys) = keys else { panic!() };
        assert_eq!(keys.len(), 2, "those of the living");
    }
}
