//! A shard: one thread with its connections.

use std::{
    cell::{Cell, RefCell},
    rc::Rc,
    sync::Arc,
};

use super::{
    Node, Pace, codec::Tools, connections::Connections, directory::Directory, drain::Drain, entries::Entries,
    fan_out::FanOuts, grace::Absentees, publisher::Publisher, undecided::Undecided,
};

/// The most connections that are polled in one pass over the ready tasks. Ending one takes about ten microseconds.
const CONNECTIONS_PER_PASS: usize = 64;

/// The connections of a thread, and all that it needs to serve them. It never leaves the thread.
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
    /// Deliveries to many connections. Borrow it before `connections`, except in a turn.
    pub(super) fan_outs: RefCell<FanOuts>,
    pub(super) entries: RefCell<Entries>,
    pub(super) absentees: RefCell<Absentees>,
    pub(super) drain: Cell<Option<Drain>>,
    /// Its connections take turns here when many are ready at once.
    pub(super) pace: Rc<Pace>,
    /// Connections whose clients have recently caused much work take turns here, one at a time.
    pub(super) busy: Rc<Pace>,
    /// When a connection last ended, by the node's clock, until its memory was returned.
    pub(super) forgot_at: Cell<Option<u64>>,
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
            forgot_at: Cell::new(None),
        })
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
