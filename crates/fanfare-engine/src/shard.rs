//! A shard: one thread with its connections.

use std::{
    cell::{Cell, RefCell},
    rc::Rc,
    sync::Arc,
};

use super::{
    Node, Pace,
    codec::Tools,
    connection::Connection,
    connections::{Connections, Key},
    directory::Directory,
    drain::Drain,
    entries::Entries,
    fan_out::FanOuts,
    grace::Absentees,
    publisher::Publisher,
    undecided::Undecided,
};

/// The most connections that are polled in one pass over the ready tasks. To end one takes about ten microseconds.
const CONNECTIONS_PER_PASS: usize = 64;
/// The slots that a walk over all connections visits between two pauses.
const SLOTS_PER_STEP: usize = 256;

/// The connections of a thread, and the state that serves them. It never leaves the thread.
pub struct Shard {
    /// Its index among the node's shards.
    pub number: usize,
    /// Its node.
    pub node: Arc<Node>,
    pub(super) connections: RefCell<Connections>,
    pub(super) directory: Directory,
    pub(super) tools: RefCell<Tools>,
    pub(super) publisher: Rc<Publisher>,
    pub(super) undecided: RefCell<Undecided>,
    /// Borrow it before `connections`, except in a turn.
    pub(super) fan_outs: RefCell<FanOuts>,
    pub(super) entries: RefCell<Entries>,
    pub(super) absentees: RefCell<Absentees>,
    pub(super) drain: Cell<Option<Drain>>,
    /// The queue of connections that are ready, if they are many.
    pub(super) pace: Rc<Pace>,
    /// The queue of connections that have recently caused much work. It calls one at a time.
    pub(super) busy: Rc<Pace>,
    /// The time of the last removal, by the node's clock; `None` once the memory was released.
    pub(super) removed_at: Cell<Option<u64>>,
}

impl Shard {
    /// Returns a shard without connections.
    pub fn new(number: usize, node: Arc<Node>) -> Rc<Self> {
        Rc::new(Self {
            number,
            publisher: Publisher::new(node.clone()),
            directory: Directory::new(node.clone(), number),
            fan_outs: RefCell::new(FanOuts::new(node.max_fan_out_receivers)),
            node,
            connections: RefCell::default(),
            undecided: RefCell::default(),
            tools: RefCell::new(Tools::new()),
            entries: RefCell::default(),
            absentees: RefCell::default(),
            drain: Cell::new(None),
            pace: Pace::new(CONNECTIONS_PER_PASS),
            busy: Pace::new(1),
            removed_at: Cell::new(None),
        })
    }

    /// Visits all connections, with pauses, so that the walk does not delay deliveries.
    pub(super) async fn visit(&self, mut visit: impl FnMut(Key, &Connection)) {
        for first in (0..).step_by(SLOTS_PER_STEP) {
            {
                let mut connections = self.connections.borrow_mut();
                if first >= connections.slots() {
                    return;
                }
                for slot in first..first + SLOTS_PER_STEP {
                    if let Some((key, driver)) = connections.in_slot(slot) {
                        visit(key, &driver.connection);
                    }
                }
            }
            tokio::task::yield_now().await;
        }
    }

    /// Returns the number of its connections.
    pub fn len(&self) -> usize {
        self.connections.borrow().len()
    }

    /// Returns whether it has no connections.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}
