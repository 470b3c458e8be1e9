//! Holds events back until the authorizer has decided.

use std::{rc::Rc, sync::atomic::Ordering::Relaxed};

use fanfare_core::{
    Channel, Event,
    policy::{AuthorizerAnswer, OpenQuestions, Permission},
};

use super::{Prepared, Shard, connections::Key, counters::add};

impl Shard {
    /// Holds `events` back, and all later events of this connection, until the authorizer has answered.
    pub(super) fn hold_back_all(&self, key: Key, events: impl Iterator<Item = Event>) {
        self.catch_up([key].into_iter());
        let moment = self.node.now();
        let mut connections = self.connections.borrow_mut();
        let Some(driver) = connections.later_receiver_at(key) else {
            return;
        };
        for event in events {
            if driver.connection.is_repeat(&event) {
                continue;
            }
            let dropped = u64::from(!driver.connection.hold_event(event, moment));
            add(&driver.connection.mounted().counters.dropped, dropped);
        }
        driver.wake();
    }

    /// Holds `events` back until the authorizer has answered and the earlier events of this channel are decided; then sends or drops
    /// them.
    pub(super) fn hold_back(
        self: &Rc<Self>,
        key: Key,
        channel: &Channel,
        asked: OpenQuestions,
        events: impl Iterator<Item = Event>,
    ) {
        let mut connections = self.connections.borrow_mut();
        let mut driver = connections.at(key);
        let by_subscription = driver
            .as_ref()
            .is_some_and(|driver| driver.connection.subscriber.has_credential(channel));
        let put = self.undecided.borrow_mut().put(
            key,
            channel,
            (asked, by_subscription),
            events.collect(),
            &self.node.access,
        );
        add(&self.node.counters.events_undecided, put.kept);
        if let Some(driver) = &mut driver {
            add(&driver.connection.mounted().counters.dropped, put.dropped);
        }
        drop(connections);
        if !put.first {
            return;
        }
        let (shard, channel) = (self.clone(), channel.clone());
        tokio::task::spawn_local(async move {
            loop {
                let next = shard.undecided.borrow_mut().next(key, &channel);
                let Some(answer) = next else { return };
                let allowed = answer.await.is_allowed();
                let (waiting, by_subscription) = shard.undecided.borrow_mut().take(key, &channel);
                let undecided = &shard.node.counters.events_undecided;
                undecided.fetch_sub(waiting.len() as u64, Relaxed);
                if allowed {
                    shard.send_late(key, &channel, waiting, by_subscription);
                } else {
                    shard.record_refused(key, &waiting);
                }
            }
        });
    }

    /// Sends events that the authorizer allowed for the connection's credential or the subscription's (`by_subscription`).
    fn send_late(self: &Rc<Self>, key: Key, channel: &Channel, events: Vec<Event>, by_subscription: bool) {
        self.catch_up([key].into_iter());
        let mut connections = self.connections.borrow_mut();
        let mut tools = self.tools.borrow_mut();
        let moment = self.node.now();
        let Some(driver) = connections.receiver_at(key) else {
            return;
        };
        if !driver.connection.subscriber.is_shown(channel) {
            return; // it has unsubscribed meanwhile
        }
        let access = &self.node.access;
        for event in events {
            let who = driver.connection.subscriber.reader(channel);
            let is_allowed = if driver.connection.subscriber.has_credential(channel) == by_subscription {
                access.may_see(who, &event) != Permission::Denied // the authorizer has just answered the rest
            } else {
                // The subscription's credential has lapsed, so the answer is void; the connection's credential was not judged.
                match access.may_receive(who, &event, channel, access.readers(channel)) {
                    Permission::Allowed => true,
                    Permission::Denied => false,
                    Permission::Pending(mut open) => access
                        .remembered(&mut open)
                        .is_some_and(AuthorizerAnswer::is_allowed),
                }
            };
            if !is_allowed {
                continue;
            }
            let prepared = Prepared::new(event, self.node.dialects.len());
            let variant = driver.connection.variant();
            let mounted = variant.mounted.clone();
            if let Some(frame) = prepared.frame(variant, &mut tools.codec.deflater) {
                let sent = driver.send_run(std::slice::from_ref(&frame), moment);
                mounted.counters.count(sent);
                let frame = (sent.queued > 0).then(|| frame.into_owned());
                self.record_late(key, driver, prepared.event.id, frame);
            }
        }
    }
}
