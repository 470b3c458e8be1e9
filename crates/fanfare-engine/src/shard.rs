//! One thread and the connections it owns.

use std::{
    cell::{Cell, RefCell},
    panic::AssertUnwindSafe,
    rc::Rc,
    sync::Arc,
    time::Duration,
};

use ahash::AHashMap;
use fanfare_core::{ConnectionFacts, Ending, Entered, EntryTicket, SubscriptionIndex};
use fanfare_ws::{Deflater, Inflater};
use futures_util::FutureExt;
use slab::Slab;
use tokio::{
    sync::{mpsc, oneshot},
    task::JoinHandle,
};
use uuid::Uuid;

use super::{
    Node, Pace,
    batch::Part,
    census::{Filter, Row},
    connection::{Connection, Key},
    grace::Absentees,
    presence::PendingEntry,
    publisher::Publisher,
    sweep,
    told::Told,
    undecided::Undecided,
};

/// Bytes read from a socket at once. One buffer serves all of a shard's connections.
const READ_BUFFER: usize = 64 * 1024;

/// Connections polled in one pass over what is ready. To end one takes about ten microseconds.
const CONNECTIONS_PER_PASS: usize = 64;

/// What other threads ask of a shard.
pub enum ShardCommand {
    /// Deliver these events to this shard's connections.
    #[allow(
        private_interfaces,
        reason = "only this module's neighbours can make or take one apart"
    )]
    Deliver(Part),
    /// Send this to all connections of a dialect.
    #[allow(
        private_interfaces,
        reason = "only this module's neighbours can make or take one apart"
    )]
    Tell(Arc<Told>),
    /// A connection has entered its room.
    Entered(EntryTicket, Entered),
    /// Answer with what is known of the connections of the dialect of this number.
    List(usize, oneshot::Sender<Vec<ConnectionFacts>>),
    /// Answer with the connections asked for.
    Rows(Filter, oneshot::Sender<Vec<Row>>),
    /// End the connection of this id, and answer how many there were.
    End(Uuid, oneshot::Sender<u64>),
    /// End the connections whose credential has been revoked.
    EndRefused,
    /// Answer when everything asked before has been done.
    Probe(oneshot::Sender<()>),
    /// Close all connections, spread over this time.
    Drain(Duration),
}

/// Where commands for a shard are put.
#[derive(Clone)]
pub struct ShardHandle(mpsc::UnboundedSender<ShardCommand>);

impl ShardHandle {
    /// A handle, and the other end for [`Shard::new`].
    pub fn channel() -> (Self, mpsc::UnboundedReceiver<ShardCommand>) {
        // Unbounded, because every publisher waits for its batch's answer before it sends the next.
        let (sender, receiver) = mpsc::unbounded_channel();
        (Self(sender), receiver)
    }

    /// Puts a command; a shard that has stopped drops it, and a batch's publisher is answered by that.
    pub fn send(&self, command: ShardCommand) {
        let _ = self.0.send(command);
    }
}

/// A thread's connections and what it needs to serve them. Lives on that thread alone.
pub struct Shard {
    /// Its place among the node's shards.
    pub number: usize,
    /// The node it belongs to.
    pub node: Arc<Node>,
    pub(super) connections: RefCell<Slab<Box<Connection>>>,
    pub(super) index: RefCell<SubscriptionIndex<Key>>,
    pub(super) tools: RefCell<Tools>,
    pub(super) publisher: Rc<Publisher>,
    pub(super) undecided: RefCell<Undecided>,
    /// Connections that enter a room, by the ticket under which the broker reports it.
    pub(super) entries: RefCell<AHashMap<EntryTicket, PendingEntry>>,
    pub(super) next_entry: Cell<u64>,
    pub(super) absentees: RefCell<Absentees>,
    pub(super) generation: Cell<u32>,
    pub(super) drain: Cell<Option<sweep::Drain>>,
    /// Its connections take turns by this one when many are ready at once.
    pub(super) pace: Rc<Pace>,
    /// By this one those whose clients have made it work much lately, one at a time.
    pub(super) busy: Rc<Pace>,
    /// When a connection was forgotten last, by the node's clock, until its memory was given back.
    pub(super) forgot_at: Cell<Option<u64>>,
}

/// Big buffers that one connection at a time uses.
pub(super) struct Tools {
    pub(super) read_buffer: Box<[u8]>,
    pub(super) codec: Codec,
}

/// The compression state of a thread; no connection keeps any between messages.
pub(super) struct Codec {
    pub(super) inflater: Inflater,
    pub(super) deflater: Deflater,
}

impl Shard {
    /// A shard without connections.
    pub fn new(number: usize, node: Arc<Node>) -> Rc<Self> {
        let codec = Codec {
            inflater: Inflater::new(),
            deflater: Deflater::new(),
        };
        Rc::new(Self {
            number,
            publisher: Publisher::new(node.clone()),
            undecided: RefCell::default(),
            node,
            connections: RefCell::default(),
            index: RefCell::default(),
            tools: RefCell::new(Tools {
                read_buffer: vec![0; READ_BUFFER].into(),
                codec,
            }),
            entries: RefCell::default(),
            next_entry: Cell::new(0),
            absentees: RefCell::default(),
            generation: Cell::new(0),
            drain: Cell::new(None),
            pace: Pace::new(CONNECTIONS_PER_PASS),
            busy: Pace::new(1),
            forgot_at: Cell::new(None),
        })
    }

    /// Works off commands and keeps the connections' times, for ever. Runs on the shard's own thread.
    pub async fn run(self: Rc<Self>, mut commands: mpsc::UnboundedReceiver<ShardCommand>) {
        let beside = [
            tokio::task::spawn_local(sweep::run(self.clone())),
            tokio::task::spawn_local(self.pace.clone().run()),
            tokio::task::spawn_local(self.busy.clone().run()),
        ];
        let mut pending = Vec::new();
        while commands.recv_many(&mut pending, 256).await > 0 {
            let mut parts = Vec::new();
            for command in pending.drain(..) {
                match command {
                    ShardCommand::Deliver(part) => parts.push(part),
                    ShardCommand::Tell(told) => {
                        self.deliver_safely(std::mem::take(&mut parts)).await;
                        self.tell(&told).await;
                    }
                    other => {
                        self.deliver_safely(std::mem::take(&mut parts)).await;
                        self.obey(other);
                    }
                }
            }
            self.deliver_safely(parts).await;
        }
        beside.iter().for_each(JoinHandle::abort);
    }

    /// How many connections it holds.
    pub fn len(&self) -> usize {
        self.connections.borrow().len()
    }

    /// Whether it holds none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// A fault over one batch loses that batch; the shard goes on.
    async fn deliver_safely(self: &Rc<Self>, parts: Vec<Part>) {
        if AssertUnwindSafe(self.deliver(parts))
            .catch_unwind()
            .await
            .is_err()
        {
            tracing::error!(
                shard = self.number,
                "a fault while delivering; the batch is lost in part"
            );
        }
    }

    fn obey(self: &Rc<Self>, command: ShardCommand) {
        match command {
            // Both are done where there can be pauses.
            ShardCommand::Deliver(_) | ShardCommand::Tell(_) => {}
            ShardCommand::Entered(ticket, entered) => self.entered(ticket, entered),
            ShardCommand::Rows(filter, tell) => {
                let _ = tell.send(self.rows(&filter));
            }
            ShardCommand::End(id, tell) => {
                let _ = tell.send(self.end_those(Ending::Dismissed, &|own| own.id == id));
            }
            ShardCommand::EndRefused => {
                for (_, own) in self.connections.borrow_mut().iter_mut() {
                    own.lapse_soon();
                }
                self.end_those(Ending::SessionTerminated, &|own| {
                    own.identity
                        .as_ref()
                        .is_some_and(|identity| self.node.authenticator.is_revoked(identity))
                });
            }
            ShardCommand::List(dialect, tell) => {
                let _ = tell.send(self.list(dialect));
            }
            ShardCommand::Probe(tell) => {
                let _ = tell.send(()); // whoever asked may have given up
            }
            ShardCommand::Drain(window) => self.begin_drain(window),
        }
    }
}
