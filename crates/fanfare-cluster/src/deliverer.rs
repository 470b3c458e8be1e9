//! The task that empties the delivery queue.

use std::sync::Arc;

use ahash::AHashMap;
use fanfare_core::{BoxFuture, Event, Reach};
use futures_util::future::join_all;

use crate::{
    deliveries::{Item, Queue, ReplyTo},
    local,
    messages::{NodeMessage, Reached},
    outbox::Note,
    shared::Shared,
};

/// Delivers the items of the queue, in order.
pub(crate) async fn run(shared: Arc<Shared>, mut queue: Queue) {
    let mut items = Vec::new();
    while queue.take(&mut items).await {
        let cost = items.iter().map(Item::cost).sum();
        deliver(&shared, &mut items).await;
        queue.delivered(cost);
    }
}

/// The events of a batch, in runs that are delivered by one call each.
#[derive(Default)]
struct PlacedItems {
    /// The present run.
    events: Vec<Event>,
    /// The publication of each event of all runs.
    replies: Vec<ReplyTo>,
    /// The calls for earlier runs.
    placed: Vec<BoxFuture<'static, Vec<Reach>>>,
}

impl PlacedItems {
    fn push(&mut self, event: Event, reply: ReplyTo) {
        self.events.push(event);
        self.replies.push(reply);
    }

    /// Ends the present run, so that the next item comes after its events.
    fn place(&mut self, shared: &Shared) {
        if !self.events.is_empty() {
            let events = std::mem::take(&mut self.events);
            self.placed.push(shared.node.inbound.deliver(events));
        }
    }
}

async fn deliver(shared: &Shared, items: &mut Vec<Item>) {
    let mut batch = PlacedItems::default();
    let mut flushes = Vec::new();
    for item in items.drain(..) {
        match item {
            Item::Event(event, reply) => batch.push(event, reply),
            Item::Announce(change, room, member) => {
                let event = local::announcement(&*shared.node.inbound, change, &room, &member);
                if let Some(event) = event {
                    batch.push(event, ReplyTo::Dropped);
                }
            }
            Item::Entered(ticket, entered) => {
                batch.place(shared);
                local::entered(&*shared.node.inbound, ticket, entered);
            }
            Item::Gap(gap) => {
                batch.place(shared);
                local::missed(&*shared.node.inbound, gap);
            }
            Item::Flush { node, token } => flushes.push((node, token)),
            // Before the events: there is no order between them, and an ended session should receive no more events.
            Item::Notice(notice) => local::notify(&*shared.node.inbound, notice),
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
            shared.node.outbox.send_to(&node, NodeMessage::Reach(reached));
        }
    }
    // After the replies above, because the requesting node relies on that order.
    for (node, token) in flushes {
        if *node == *shared.node.id {
            shared.requests.flushed(token, &node, true);
        } else {
            shared.node.outbox.put(Note::Flushed { node, token });
        }
    }
}
