//! The one queue through which everything for this node passes, and the task that empties it.

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering},
};

use ahash::AHashMap;
use bytes::Bytes;
use fanfare_core::{BoxFuture, Channel, Entered, EntryTicket, Event, Member, Presence, Reach};
use futures_util::future::join_all;
use tokio::sync::{Notify, mpsc};

use crate::{
    Shared, local,
    messages::{NodeMessage, Reached},
};

/// Items delivered at once.
const BATCH: usize = 256;
/// Bytes that may wait; above it the receiving connection is closed, as servers do with slow receivers.
const MAX_BACKLOG: usize = 64 << 20;
/// What an item costs besides its data and metadata.
const ITEM_OVERHEAD: usize = 256;

/// Something for this node.
pub(crate) enum Item {
    /// An event to deliver, and the publication that it belongs to.
    Event(Event, ReplyTo),
    /// A node waits until everything before this is done.
    Flush { node: Box<str>, token: u64 },
    /// This node's message to itself.
    Probe(u64),
    /// Another node's notice.
    Notice(Bytes),
    /// A connection of this node is in its room: what follows is for it.
    Entered(EntryTicket, Entered),
    /// A member of a room joined or left, and only this node's connections learn of it by this.
    Announce(Presence, Channel, Member),
}

/// Where an event's reach goes.
pub(crate) enum ReplyTo {
    Dropped,
    /// This node published it under this number.
    Own(u64),
    /// That node published it under this number.
    Node(Box<str>, u64),
}

impl Item {
    fn cost(&self) -> usize {
        match self {
            Self::Event(event, _) => cost(event),
            Self::Notice(notice) => notice.len() + ITEM_OVERHEAD,
            Self::Entered(_, entered) => {
                let members = entered.members.as_ref().map_or(0, Vec::len);
                members * size_of::<Member>() + ITEM_OVERHEAD
            }
            Self::Flush { .. } | Self::Probe(_) | Self::Announce(..) => ITEM_OVERHEAD,
        }
    }
}

fn cost(event: &Event) -> usize {
    let metadata = event
        .metadata
        .as_ref()
        .map_or(0, |metadata| metadata.bytes().len());
    event.data.bytes().len() + metadata + ITEM_OVERHEAD
}

/// The queue's entrance.
#[derive(Clone)]
pub(crate) struct Deliveries {
    queue: mpsc::UnboundedSender<Item>,
    backlog: Arc<Backlog>,
}

#[derive(Default)]
struct Backlog {
    bytes: AtomicUsize,
    less: Notify,
}

impl Backlog {
    fn give_back(&self, bytes: usize) {
        self.bytes.fetch_sub(bytes, Ordering::Relaxed);
        self.less.notify_one();
    }
}

/// The queue's exit.
pub(crate) struct Queue {
    items: mpsc::UnboundedReceiver<Item>,
    backlog: Arc<Backlog>,
}

impl Deliveries {
    pub(crate) fn new() -> (Self, Queue) {
        let (queue, items) = mpsc::unbounded_channel();
        let backlog = Arc::<Backlog>::default();
        let entrance = Self {
            queue,
            backlog: Arc::clone(&backlog),
        };
        (entrance, Queue { items, backlog })
    }

    /// Never waits, so that it can be called under a lock that orders the callers.
    pub(crate) fn push(&self, item: Item) {
        self.backlog.bytes.fetch_add(item.cost(), Ordering::Relaxed);
        // Fails only while the runtime shuts down.
        let _ = self.queue.send(item);
    }

    /// Counts `events` as waiting, which may be pushed later.
    pub(crate) fn expect(&self, events: &[Event]) {
        let bytes = events.iter().map(cost).sum();
        self.backlog.bytes.fetch_add(bytes, Ordering::Relaxed);
    }

    /// Takes back [`Self::expect`].
    pub(crate) fn unexpect(&self, events: &[Event]) {
        self.backlog.give_back(events.iter().map(cost).sum());
    }

    /// Whether more waits than may.
    pub(crate) fn is_full(&self) -> bool {
        self.backlog.bytes.load(Ordering::Relaxed) > MAX_BACKLOG
    }

    /// Waits until there is room again.
    pub(crate) async fn has_room(&self) {
        while self.backlog.bytes.load(Ordering::Relaxed) > MAX_BACKLOG / 2 {
            self.backlog.less.notified().await;
        }
    }
}

#[cfg(test)]
impl Queue {
    /// What waits first.
    pub(crate) fn next(&mut self) -> Option<Item> {
        self.items.try_recv().ok()
    }
}

/// Empties the queue, in order.
pub(crate) async fn run(shared: Arc<Shared>, mut queue: Queue) {
    let mut items = Vec::with_capacity(BATCH);
    while queue.items.recv_many(&mut items, BATCH).await > 0 {
        let cost = items.iter().map(Item::cost).sum();
        deliver(&shared, &mut items).await;
        queue.backlog.give_back(cost);
    }
}

/// Events that are delivered in one call, and where the reach of each goes.
#[derive(Default)]
struct PlacedItems {
    events: Vec<Event>,
    replies: Vec<ReplyTo>,
    /// The calls so far.
    placed: Vec<BoxFuture<'static, Vec<Reach>>>,
}

impl PlacedItems {
    fn push(&mut self, event: Event, reply: ReplyTo) {
        self.events.push(event);
        self.replies.push(reply);
    }

    /// Delivers the events so far: what follows comes after them.
    fn place(&mut self, shared: &Shared) {
        if !self.events.is_empty() {
            let events = std::mem::take(&mut self.events);
            self.placed.push(shared.inbound.deliver(events));
        }
    }
}

async fn deliver(shared: &Shared, items: &mut Vec<Item>) {
    let mut batch = PlacedItems::default();
    let (mut flushes, mut probes) = (Vec::new(), Vec::new());
    for item in items.drain(..) {
        match item {
            Item::Event(event, reply) => batch.push(event, reply),
            Item::Announce(change, room, member) => {
                let event = local::announcement(&*shared.inbound, change, &room, &member);
                if let Some(event) = event {
                    batch.push(event, ReplyTo::Dropped);
                }
            }
            Item::Entered(ticket, entered) => {
                batch.place(shared);
                local::entered(&*shared.inbound, ticket, entered);
            }
            Item::Flush { node, token } => flushes.push((node, token)),
            Item::Probe(nonce) => probes.push(nonce),
            // Before the events: there is no order between them, and a session that ended should receive no more.
            Item::Notice(notice) => local::notify(&*shared.inbound, notice),
        }
    }
    batch.place(shared);
    let PlacedItems { replies, placed, .. } = batch;
    if !placed.is_empty() {
        let reaches = join_all(placed).await.into_iter().flatten();
        let mut own = Vec::new();
        let mut others: AHashMap<Box<str>, Vec<Reached>> = AHashMap::new();
        for (reply, reach) in replies.into_iter().zip(reaches) {
            match reply {
                ReplyTo::Dropped => {}
                ReplyTo::Own(number) => own.push((number, reach)),
                ReplyTo::Node(node, number) => {
                    others.entry(node).or_default().push(Reached::new(number, reach));
                }
            }
        }
        shared.receipts.delivered(&own);
        for (node, reached) in others {
            shared.send_to(&node, NodeMessage::Reach(reached));
        }
    }
    // After the answers above: that is what the asking node relies on.
    for (node, token) in flushes {
        if *node == *shared.node_id {
            shared.flushed(token, &node);
        } else {
            let reply = NodeMessage::Flushed {
                node: shared.node_id.clone(),
                token,
            };
            shared.send_to(&node, reply);
        }
    }
    for nonce in probes {
        shared.probe_passed(nonce);
    }
}
