//! The one queue through which everything for this node passes.

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering},
};

use bytes::Bytes;
use fanfare_core::{Channel, Entered, EntryTicket, Event, Gap, Member, Presence};
use tokio::sync::{Notify, mpsc};

/// Items delivered at once.
const BATCH: usize = 256;
/// Bytes that may wait; above it the receiving connection is closed, as servers do with slow receivers.
const MAX_BACKLOG: usize = 64 << 20;
/// What an item costs besides its data and metadata.
pub(crate) const ITEM_OVERHEAD: usize = 256;

/// Something for this node.
#[allow(clippy::large_enum_variant, reason = "nearly all of them are events")]
pub(crate) enum Item {
    /// An event to deliver, and the publication that it belongs to.
    Event(Event, ReplyTo),
    /// A node waits until everything before this is done.
    Flush { node: Box<str>, token: u64 },
    /// Another node's notice.
    Notice(Bytes),
    /// A connection of this node is in its room: what follows is for it.
    Entered(EntryTicket, Entered),
    /// A member of a room joined or left, and only this node's connections learn of it by this.
    Announce(Presence, Channel, Member),
    /// Events are lost that would stand here.
    Gap(Gap),
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
    /// How many bytes of the backlog it takes.
    pub(crate) fn cost(&self) -> usize {
        match self {
            Self::Event(event, _) => cost(event),
            Self::Notice(notice) => notice.len() + ITEM_OVERHEAD,
            Self::Entered(_, entered) => {
                let members = entered.members.as_ref().map_or(0, Vec::len);
                members * size_of::<Member>() + ITEM_OVERHEAD
            }
            Self::Flush { .. } | Self::Announce(..) | Self::Gap(_) => ITEM_OVERHEAD,
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

impl Queue {
    /// Waits for items and takes some. Returns `false` when no more will come.
    pub(crate) async fn take(&mut self, items: &mut Vec<Item>) -> bool {
        self.items.recv_many(items, BATCH).await > 0
    }

    /// Items of this cost were delivered.
    pub(crate) fn delivered(&self, cost: usize) {
        self.backlog.give_back(cost);
    }

    /// What waits first.
    #[cfg(test)]
    pub(crate) fn next(&mut self) -> Option<Item> {
        self.items.try_recv().ok()
    }
}
