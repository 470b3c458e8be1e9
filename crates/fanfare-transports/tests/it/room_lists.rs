//! The law of lists that have too many members.

use crate::{
    harness::{Cluster, eventually},
    rooms::{RoomNode, users},
    server::RedisServer,
};

const ROOM: &str = "project:1";

/// Connections are still shown each change. A room that is small enough again is listed again.
pub(crate) async fn a_list_of_too_many_members_is_left_out(cluster: &Cluster) {
    let (kind, mut options) = cluster.options();
    options.node.max_listed_members = 2;
    let nodes = RoomNode::many_by(kind, options, 2, &[ROOM]).await;
    let (first, second) = (&nodes[0], &nodes[nodes.len() - 1]);
    assert_eq!(users(&first.entered(ROOM, "alice").await), ["alice"]);
    assert_eq!(users(&second.entered(ROOM, "bob").await), ["alice", "bob"]);
    let carol = first.entered(ROOM, "carol").await;
    assert_eq!((carol.first, carol.members), (true, None));
    second.shows(ROOM, "+alice +bob +carol").await;
    assert_eq!(second.entered(ROOM, "bob").await.members, None);
    let left_out = nodes
        .iter()
        .map(|node| node.broker.presence_counts().lists_left_out);
    assert_eq!(left_out.sum::<u64>(), 2);
    first.leave(ROOM, "carol");
    for node in [first, second] {
        node.shows(ROOM, "+alice +bob +carol -carol").await;
    }
    assert_eq!(users(&second.entered(ROOM, "bob").await), ["alice", "bob"]);
}

/// A node that does not know all members still shows its connections each change.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_list_of_too_many_members_is_not_read_from_redis() {
    for cluster in [Cluster::Redis(RedisServer::start()), Cluster::redis_cluster()] {
        let (kind, mut options) = cluster.options();
        options.node.max_known_members = 2;
        let nodes = RoomNode::many_by(kind, options, 3, &[ROOM]).await;
        let [first, second, third] = &nodes[..] else {
            panic!("three nodes")
        };
        for user in ["alice", "bob"] {
            first.entered(ROOM, user).await;
        }
        let carol = second.entered(ROOM, "carol").await;
        assert_eq!((carol.first, carol.members), (true, None));
        first.shows(ROOM, "+alice +bob +carol").await;
        assert_eq!(
            users(&first.entered(ROOM, "bob").await),
            ["alice", "bob", "carol"]
        );
        let dave = third.entered(ROOM, "dave").await;
        assert_eq!((dave.first, dave.members), (true, None));
        assert!(!third.entered(ROOM, "alice").await.first);
        first.leave(ROOM, "alice");
        second.leave(ROOM, "carol");
        for node in [second, third] {
            eventually("it is shown", async || {
                node.changes(ROOM).ends_with("+dave -carol")
            })
            .await;
        }
        let unlisted = nodes.iter().map(|node| node.broker.presence_counts().unlisted);
        assert_eq!(unlisted.collect::<Vec<_>>(), [0, 1, 1]);
    }
}
