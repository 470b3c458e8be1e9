//! Rooms on NATS: a room's record is one message, so `max_payload` limits its members.

use crate::{
    nats_server::NatsServer,
    rooms::{RoomNode, alternate, slot, users, within},
};

const ROOM: &str = "project:1";
const OTHER: &str = "task:1";

async fn two_nodes(server: &NatsServer) -> (RoomNode, RoomNode) {
    let (url, rooms) = (server.url(), [ROOM, OTHER]);
    let first = RoomNode::ready(&url, "a", &rooms).await;
    (first, RoomNode::ready(&url, "b", &rooms).await)
}

/// Enters connections of users at the same time.
async fn enter(node: &RoomNode, numbers: std::ops::Range<usize>) {
    let tickets: Vec<u64> = numbers
        .map(|number| node.enter(ROOM, &format!("user-{number}")))
        .collect();
    for ticket in tickets {
        node.answer(ticket).await;
    }
}

fn joined(node: &RoomNode) -> usize {
    node.changes(ROOM).matches("+user-").count()
}

/// Fails if the nodes do not count together.
async fn count_together(first: &RoomNode, second: &RoomNode, name: &str) {
    assert!(first.broker.acquire_slot(slot(name), 1).await);
    assert!(!second.broker.acquire_slot(slot(name), 1).await);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_full_room_affects_no_other_room() {
    let server = NatsServer::start_with("max_payload: 8KB\njetstream { store_dir: FOLDER }\n");
    let (first, second) = two_nodes(&server).await;
    second.entered(ROOM, "watcher").await;
    enter(&first, 0..120).await;
    let unstored = |node: &RoomNode| node.broker.presence_counts().unstored;
    assert!(unstored(&first) > 0);
    // The node's own connections are shown all members; other nodes show those that fit.
    within(30, "the first node shows all", async || joined(&first) == 120).await;
    within(30, "the second node shows those in the store", async || {
        joined(&second) + usize::try_from(unstored(&first)).unwrap() >= 120
    })
    .await;
    assert!((20..110).contains(&joined(&second)), "{}", joined(&second));
    // Other rooms are not affected.
    count_together(&first, &second, "one").await;
    first.entered(OTHER, "alice").await;
    second.entered(OTHER, "bob").await;
    for node in [&first, &second] {
        node.shows(OTHER, "+alice +bob").await;
    }
    // A node whose first member does not fit still has the list of the others.
    let third = RoomNode::ready(&server.url(), "c", &[ROOM]).await;
    let late = third.entered(ROOM, "user-200").await;
    assert_eq!(users(&late).len(), joined(&second) + 2);
    assert!(unstored(&third) > 0);
    // A member that did not fit leaves unannounced. A member that did makes room for another.
    first.leave(ROOM, "user-119");
    third.leave(ROOM, "user-200");
    for number in 0..60 {
        first.leave(ROOM, &format!("user-{number}"));
    }
    within(60, "all of the others are counted", async || {
        let changes = second.changes(ROOM);
        let is_shown = |word: String| changes.split_whitespace().any(|change| change == word);
        (60..119).all(|number| is_shown(format!("+user-{number}")))
    })
    .await;
    for node in [&first, &second] {
        within(30, "all leaves are shown", async || {
            node.changes(ROOM).matches("-user-").count() >= 60
        })
        .await;
        alternate(&node.changes(ROOM));
    }
    assert!(!second.changes(ROOM).contains("user-119"));
    assert!(!second.changes(ROOM).contains("user-200"));
    assert_eq!(users(&second.entered(ROOM, "watcher").await).len(), 60);
    count_together(&first, &second, "two").await;
}

/// Their announcements exceed the limit of one message's headers.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_enter_one_room_at_once() {
    let server = NatsServer::start();
    let (first, second) = two_nodes(&server).await;
    enter(&first, 0..600).await;
    within(30, "both nodes show all", async || {
        joined(&first) == 600 && joined(&second) == 600
    })
    .await;
    assert_eq!(
        first.broker.presence_counts().entered,
        600,
        "nobody was entered twice"
    );
    count_together(&first, &second, "one").await;
}
