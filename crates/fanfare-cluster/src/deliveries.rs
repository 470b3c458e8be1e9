//! The queue of everything that this node delivers.

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering},
};

use bytes::Bytes;
use fanfare_core::{Channel, Entered, EntryTicket, Event, Gap, Member, Presence};
use tokio::sync::{Notify, mpsc};

/// The most items to deliver in one batch.
const BATCH: usize = 256;
/// The limit of waiting items, in bytes. Above it the node closes its receiving connection, as servers do with slow receivers.
const MAX_BACKLOG: usize = 64 << 20;
/// The size of an item without its data and metadata, in bytes.
pub(crate) const ITEM_OVERHEAD: usize = 256;

/// One item of the queue.
#[allow(clippy::large_enum_variant, reason = "nearly all of them are events")]
pub(crate) enum Item {
    /// An event to deliver, and the publication that it belongs to.
    Event(Event, ReplyTo),
    /// A node waits for a reply after all earlier items.
    Flush { node: Box<str>, token: u64 },
    /// Another node's notice.
    Notice(Bytes),
    /// A connection of this node is in its room: it receives the later events of the room.
    Entered(EntryTicket, Entered),
    /// A member of a room joined or left. The item announces it to this node's connections only.
    Announce(Presence, Channel, Member),
    /// Events are lost that belong here.
    Gap(Gap),
}

/// The publication to which an event's reach is reported.
pub(crate) enum ReplyTo {
    /// None.
    Dropped,
    /// This node's publication of this number.
    Own(u64),
    /// The other node's publication of this number.
    Node(Box<str>, u64),
}

impl Item {
    /// Returns the item's share of the backlog, in bytes.
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

/// The sending side of the queue.
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
    fn release(&self, bytes: usize) {
        self.bytes.fetch_sub(bytes, Ordering::Relaxed);
        self.less.notify_one();
    }
}

/// The receiving side of the queue.
pub(crate) struct Queue {
    items: mpsc::UnboundedReceiver<Item>,
    backlog: Arc<Backlog>,
}

impl Deliveries {
    pub(crate) fn new() -> (Self, Queue) {
        let (queue, items) = mpsc::unbounded_channel();
        let backlog = Arc::<Backlog>::default();
        let deliveries = Self {
            queue,
            backlog: Arc::clone(&backlog),
        };
        (deliveries, Queue { items, backlog })
    }

    /// Appends an item without waiting, so that callers can hold the lock that orders them.
    pub(crate) fn push(&self, item: Item) {
        self.backlog.bytes.fetch_add(item.cost(), Ordering::Relaxed);
        // Fails only while the runtime shuts down.
        let _ = self.queue.send(item);
    }

    /// Adds `events` to the backlog before they are pushed.
    pub(crate) fn reserve(&self, events: &[Event]) {
        let bytes = events.iter().map(cost).sum();
        self.backlog.bytes.fetch_add(bytes, Ordering::Relaxed);
    }

    /// Undoes [`Self::reserve`].
    pub(crate) fn unreserve(&self, events: &[Event]) {
        self.backlog.release(events.iter().map(cost).sum());
    }

    /// Returns whether the backlog is above its limit.
    pub(crate) fn is_full(&self) -> bool {
        self.backlog.bytes.load(Ordering::Relaxed) > MAX_BACKLOG
    }

    /// Waits until the backlog is below half of its limit.
    pub(crate) async fn wait_for_room(&self) {
        while self.backlog.bytes.load(Ordering::Relaxed) > MAX_BACKLOG / 2 {
            self.backlog.less.notified().await;
        }
    }
}

impl Queue {
    /// Waits for items, and moves some into `items`. Returns `false` when the queue is closed.
    pub(crate) async fn take(&mut self, items: &mut Vec<Item>) -> bool {
        self.items.recv_many(items, BATCH).await > 0
    }

    /// Removes delivered items of this cost from the backlog.
    pub(crate) fn delivered(&self, cost: usize) {
        self.backlog.release(cost);
    }

    #[cfg(test)]
    pub(crate) fn next(&mut self) -> Option<Item> {
        self.items.try_recv().ok()
    }
}
