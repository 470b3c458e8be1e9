//! The reports between nodes: whether a node receives, the number of notices that it has sent, and its end.

use std::{sync::Arc, time::Duration};

use crate::{
    messages::{NodeMessage, Report},
    peers::Kind,
    shared::Shared,
    transport::Subject,
};

/// The interval between two reports of a node.
const REPORT_INTERVAL: Duration = Duration::from_secs(2);

/// Handles the report of another node.
pub(crate) fn reported(shared: &Shared, report: &Report) {
    let Report {
        node,
        run,
        receives,
        connections,
        ..
    } = report;
    if report.reply && shared.peers.receives() {
        send(shared, Subject::Node(node.clone()), true, false);
    }
    let known = shared.peers.reported(report);
    let known = known.as_ref();
    if !receives || known.is_none_or(|peer| !peer.is_on(*connections)) {
        shared.requests.gone(node, false);
    }
    if known.is_some_and(|peer| !receives || !peer.is_on(*connections)) {
        // Events in flight to the lost connection may be missed.
        shared.receipts.may_be_missed();
    }
    if known.is_some_and(|peer| peer.is_late(Kind::Flush)) {
        // Only a reply in time shows that the node delivers.
        shared.node.outbox.send_to(node, shared.requests.check());
    }
    shared.notices.reported(node, *run, report.notices);
}

/// Reports on subject `to` whether this node receives.
pub(crate) fn send(shared: &Shared, to: Subject, receives: bool, reply: bool) {
    if shared.peers.ends() {
        return;
    }
    let (run, notices) = shared.notices.sent();
    let message = NodeMessage::Report(Report {
        node: shared.node.id.clone(),
        run,
        receives,
        connections: shared.connections(),
        notices,
        reply,
    });
    shared.node.outbox.send(to, message);
}

/// Reports to all nodes that this one ends, and prevents later reports.
pub(crate) async fn end(shared: &Shared) {
    shared.peers.end();
    let ended = NodeMessage::Ended {
        node: shared.node.id.clone(),
    };
    // If that fails, the other nodes treat this one like a node that died.
    let _ = shared.node.link.publish(&[ended.to(Subject::Nodes, None)]).await;
}

/// Reports at intervals whether this node receives, and at once on a new connection.
pub(crate) async fn run(shared: Arc<Shared>) {
    let mut connections = shared.node.link.changes();
    loop {
        let changed = tokio::time::timeout(REPORT_INTERVAL, connections.changed()).await;
        let receives = shared.peers.receives();
        if changed.is_err() {
            send(&shared, Subject::Nodes, receives, false);
        } else if receives && shared.node.link.current().is_some() {
            send(&shared, Subject::Nodes, true, true);
        }
    }
}
