//! Passes events that arrived to the delivery queue, or to the part of the broker that handles them first.

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
    /// When the connection was opened.
    pub(crate) since: Instant,
}

/// Routes events that arrived.
pub(crate) struct Arrivals {
    pub(crate) node: Arc<Node>,
    pub(crate) receipts: Arc<Receipts>,
    pub(crate) foreign: Arc<Foreign>,
    pub(crate) recorder: Arc<Recorder>,
    pub(crate) presence: Arc<Presence>,
}

impl Arrivals {
    /// Routes an event. All events of its audience before it have been routed.
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
                    self.presence.receive(&room, *mark, event, node == self.node.id);
                }
            }
            Some(Envelope {
                node,
                number: Some(number),
                ..
            }) if node == self.node.id => self.receipts.echo(number, event),
            // The subscription to all channels may outlive the last pattern, and delivers unwanted events.
            envelope if by_all_channels && !self.receipts.wants(&event.audience) => {
                if let Some(envelope) = envelope {
                    self.decline(&envelope);
                }
            }
            Some(Envelope { recorded: true, .. }) => self.recorder.receive_copy(event),
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
            // Kept events are delivered in the order of their numbers, so they do not wait for the store of ids.
            _ if event.history.position().is_some() => {
                self.node.deliveries.push(Item::Event(event, ReplyTo::Dropped));
            }
            Some(_) => self.foreign.one(event, since),
            None => self.recorder.receive(event, since),
        }
    }

    /// Declines the event: the publisher does not wait for this node, although the transport counted it among the listeners.
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
