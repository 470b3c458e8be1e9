//! Events that arrived, on their way to the delivery queue: which of them count here, and who waits for a reply.

use std::{sync::Arc, time::Instant};

use fanfare_core::{Audience, Event};

use crate::{
    deliveries::{Item, ReplyTo},
    foreign::Foreign,
    messages::NodeMessage,
    node::Node,
    presence::Presence,
    receipts::Receipts,
    recorder::Recorder,
    wire::Envelope,
};

/// An event that arrived, or was fetched from the journal.
pub(crate) struct ArrivedEvent {
    pub(crate) by_all_channels: bool,
    pub(crate) event: Event,
    pub(crate) envelope: Option<Envelope>,
    /// Since when the connection has been there.
    pub(crate) since: Instant,
}

/// Where events go.
pub(crate) struct Arrivals {
    pub(crate) node: Arc<Node>,
    pub(crate) receipts: Arc<Receipts>,
    pub(crate) foreign: Arc<Foreign>,
    pub(crate) recorder: Arc<Recorder>,
    pub(crate) presence: Arc<Presence>,
}

impl Arrivals {
    /// Takes an event that has nothing missing before it.
    pub(crate) fn take(&self, arrived: ArrivedEvent) {
        let ArrivedEvent {
            by_all_channels,
            event,
            envelope,
            since,
        } = arrived;
        match envelope {
            Some(Envelope {
                node,
                presence: Some(mark),
                ..
            }) => {
                let wanted = !by_all_channels || self.receipts.wants(&event.audience);
                if let Audience::Channel(room) = &event.audience
                    && wanted
                {
                    let room = room.clone();
                    self.presence.arrived(&room, *mark, event, node == self.node.id);
                }
            }
            Some(Envelope {
                node,
                number: Some(number),
                ..
            }) if node == self.node.id => self.receipts.echo(number, event),
            // The subscription to all channels brings more than is wanted, once no pattern is held any more.
            envelope if by_all_channels && !self.receipts.wants(&event.audience) => {
                if let Some(envelope) = envelope {
                    self.decline(&envelope);
                }
            }
            Some(Envelope { recorded: true, .. }) => self.recorder.copy(event),
            Some(Envelope {
                node,
                number: Some(number),
                reply,
                ..
            }) => {
                let reply_to = if reply {
                    ReplyTo::Node(node, number)
                } else {
                    ReplyTo::Dropped
                };
                self.node.deliveries.push(Item::Event(event, reply_to));
            }
            // What is kept is delivered in the order of the numbers, whatever waits for the store of ids.
            _ if event.history.position().is_some() => {
                self.node.deliveries.push(Item::Event(event, ReplyTo::Dropped));
            }
            Some(_) => self.foreign.one(event, since),
            None => self.recorder.one(event, since),
        }
    }

    /// Asks the publisher not to wait for this node, which is counted among the listeners.
    pub(crate) fn decline(&self, envelope: &Envelope) {
        match envelope.number {
            Some(number) if envelope.node == self.node.id => self.receipts.declined(&[number]),
            Some(number) if envelope.reply => {
                self.node
                    .outbox
                    .send_to(&envelope.node, NodeMessage::Declined(vec![number]));
            }
            _ => {}
        }
    }
}
