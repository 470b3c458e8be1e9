//! The parts of the broker, which its tasks share.

use std::{sync::Arc, time::Duration};

use fanfare_core::{MAX_CLAIMS, MAX_KNOWN_MEMBERS, MAX_LISTED_MEMBERS};

use crate::{
    MAX_FETCHED, MAX_WATCHED, answers::Answers, arrivals::Arrivals, foreign::Foreign, gaps::Gaps, ids::Ids,
    messages::Connections, node::Node, notices::Notices, peers::Peers, presence::Presence, probes::Probes,
    receipts::Receipts, recorder::Recorder, replays::Replays, requests::Requests,
};

/// The options of a node in a cluster.
#[derive(Debug, Clone)]
pub struct ClusterOptions {
    /// This node's name: short, and different from that of every other node. If it is empty, the node generates one.
    pub node_id: String,
    /// The time for which a node stays subscribed to all channels after it has released [`Interest::AllChannels`]. It is longer than
    /// most clients take to reconnect.
    ///
    /// [`Interest::AllChannels`]: fanfare_core::Interest::AllChannels
    pub linger: Duration,
    /// The most ids that this node's memory holds.
    pub max_remembered_ids: usize,
    /// The most members of a room whose list is sent to a connection that enters.
    pub max_listed_members: usize,
    /// The most members of a room whose list a node reads. In a larger room the node delivers every announcement as it arrives.
    pub max_known_members: usize,
    /// The most audiences with history that a node watches for gaps.
    pub max_watched: usize,
    /// The most events that are fetched for one gap.
    pub max_fetched: usize,
}

impl Default for ClusterOptions {
    fn default() -> Self {
        Self {
            node_id: String::new(),
            linger: Duration::from_secs(30),
            max_remembered_ids: MAX_CLAIMS,
            max_listed_members: MAX_LISTED_MEMBERS,
            max_known_members: MAX_KNOWN_MEMBERS,
            max_watched: MAX_WATCHED,
            max_fetched: MAX_FETCHED,
        }
    }
}

/// The parts of the broker.
pub(crate) struct Shared {
    pub(crate) node: Arc<Node>,
    /// See [`ClusterOptions::linger`].
    pub(crate) linger: Duration,
    pub(crate) receipts: Arc<Receipts>,
    pub(crate) probes: Arc<Probes>,
    pub(crate) peers: Arc<Peers>,
    pub(crate) requests: Arc<Requests>,
    pub(crate) ids: Arc<Ids>,
    pub(crate) recorder: Arc<Recorder>,
    pub(crate) foreign: Arc<Foreign>,
    pub(crate) answers: Arc<Answers>,
    pub(crate) notices: Arc<Notices>,
    pub(crate) presence: Arc<Presence>,
    pub(crate) arrivals: Arc<Arrivals>,
    pub(crate) gaps: Arc<Gaps>,
    pub(crate) replays: Replays,
}

impl Shared {
    /// Returns this node's connections.
    pub(crate) fn connections(&self) -> Connections {
        Connections {
            receiving: self.receipts.with_interests(|wanted| wanted.connection),
            lost: self.node.link.lost(),
        }
    }

    pub(crate) fn new(
        node: Arc<Node>,
        receipts: Receipts,
        answers: Answers,
        foreign: Foreign,
        options: &ClusterOptions,
    ) -> Self {
        let (peers, receipts, foreign) = (Arc::<Peers>::default(), Arc::new(receipts), Arc::new(foreign));
        let requests = Arc::new(Requests::new(node.id.clone(), Arc::clone(&peers)));
        let probes = Arc::new(Probes::new(Arc::clone(&node), Arc::clone(&requests)));
        let presence = Presence::new(Arc::clone(&node), Arc::clone(&probes), options.max_listed_members);
        let presence = Arc::new(presence);
        let ids = Arc::new(Ids::new(Arc::clone(&node), options.max_remembered_ids));
        let recorder = Recorder::new(
            Arc::clone(&node),
            Arc::clone(&foreign),
            Arc::clone(&ids),
            Arc::clone(&receipts),
            options.max_remembered_ids,
        );
        let recorder = Arc::new(recorder);
        let arrivals = Arc::new(Arrivals {
            recorder: Arc::clone(&recorder),
            node: Arc::clone(&node),
            receipts: Arc::clone(&receipts),
            foreign: Arc::clone(&foreign),
            presence: Arc::clone(&presence),
        });
        Self {
            gaps: Arc::new(Gaps::new(
                Arc::clone(&arrivals),
                options.max_watched,
                options.max_fetched,
            )),
            replays: Replays::default(),
            arrivals,
            recorder,
            linger: options.linger,
            requests,
            ids,
            notices: Arc::new(Notices::new(Arc::clone(&node))),
            answers: Arc::new(answers),
            foreign,
            presence,
            peers,
            receipts,
            probes,
            node,
        }
    }
}
