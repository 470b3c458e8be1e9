//! One thread and the connections it owns.

use std::{
    cell::{Cell, RefCell},
    rc::Rc,
    sync::Arc,
};

use super::{
    Node, Pace, codec::Tools, connections::Connections, directory::Directory, drain::Drain, entries::Entries,
    fan_out::FanOuts, grace::Absentees, publisher::Publisher, undecided::Undecided,
};

/// Connections polled in one pass over what is ready. To end one takes about ten microseconds.
const CONNECTIONS_PER_PASS: usize = 64;

/// A thread's connections and what it needs to serve them. Lives on that thread alone.
pub struct Shard {
    /// Its place among the node's shards.
    pub number: usize,
    /// The node it belongs to.
    pub node: Arc<Node>,
    pub(super) connections: RefCell<Connections>,
    pub(super) directory: Directory,
    pub(super) tools: RefCell<Tools>,
    pub(super) publisher: Rc<Publisher>,
    pub(super) undecided: RefCell<Undecided>,
    /// What is written to many connections; borrowed before `connections`, except in a turn.
    pub(super) fan_outs: RefCell<FanOuts>,
    pub(super) entries: RefCell<Entries>,
    pub(super) absentees: RefCell<Absentees>,
    pub(super) drain: Cell<Option<Drain>>,
    /// Its connections take turns by this one when many are ready at once.
    pub(super) pace: Rc<Pace>,
    /// By this one those whose clients have made it work much lately, one at a time.
    pub(super) busy: Rc<Pace>,
    /// When a connection was forgotten last, by the node's clock, until its memory was given back.
    pub(super) forgot_at: Cell<Option<u64>>,
}

impl Shard {
    /// A shard without connections.
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

    /// How many connections it holds.
    pub fn len(&self) -> usize {
        self.connections.borrow().len()
    }

    /// Whether it holds none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}
