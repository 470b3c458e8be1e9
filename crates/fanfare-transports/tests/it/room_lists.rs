//! The law of lists of members that are too long to be sent.

use crate::{
    harness::Cluster,
    rooms::{RoomNode, users},
};

const ROOM: &str = "project:1";

/// Everybody still sees who comes and goes; a room that is small enough again is listed again.
pub(crate) async fn a_list_of_too_many_members_is_left_out(cluster: &Cluster) {
    let (kind, mut options) = cluster.options();
    options.node.max_listed_members = 2;
    let nodes = RoomNode::many_by(kind, options, 2, &[ROOM]).await;
    let (first, second) = (&nodes[0], &nodes[nodes.len() - 1]);
    assert_eq!(users(&first.entered(ROOM, "alice").await), ["alice"]);
    assert_eq!(users(&second.entered(ROOM, "bob").await), ["alice", "bob"]);
    let carol = first.entered(ROOM, "carol").await;
    assert_eq!((carol.first, carol.members), (true, None));
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
