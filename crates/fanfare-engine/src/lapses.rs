//! Subscriptions by a credential of their own (`Command::SubscribeBy`): they end with it.

use std::sync::Arc;

use fanfare_core::{Channel, Denial, Identity, Outcome, Subscription};

use super::{
    connection::Connection,
    requests::{self, Asking, Granted, Request},
    talk::{Turn, unix_millis},
};

/// A connection's subscriptions by other credentials than its own, each with that.
#[derive(Default)]
pub(super) struct Lapses(Vec<(Channel, Arc<Identity>)>);

impl Lapses {
    fn note(&mut self, channel: Channel, identity: Arc<Identity>) {
        self.forget(&channel);
        self.0.push((channel, identity));
    }

    pub(super) fn forget(&mut self, channel: &Channel) {
        self.0.retain(|(own, _)| own != channel);
    }

    fn has(&self, channel: &Channel) -> bool {
        self.0.iter().any(|(own, _)| own == channel)
    }
}

impl Connection {
    /// Whether it is subscribed to `channel` by a credential other than its own.
    pub(super) fn borrows(&self, channel: &Channel) -> bool {
        self.lapses.as_ref().is_some_and(|lapses| lapses.has(channel))
    }

    /// Subscribes to `channel` if `credential`, which is of the connection's user, may.
    pub(super) fn subscribe_by(&mut self, channel: Channel, credential: Arc<Identity>, turn: &mut Turn<'_>) {
        if self.proven().is_none_or(|own| own.user != credential.user) {
            return self.answer(Err(Denial::OtherUser), turn);
        }
        let wanted = Subscription::Channel(channel.clone());
        let is_subscribed = self.is_subscribed(&wanted);
        let access = &turn.shard.node.access;
        let request = match Request::new(wanted, Some(&credential), access) {
            Request::Take(..) if is_subscribed => Request::Held,
            request => request,
        };
        let asking = Asking {
            who: Some(credential.clone()),
            ..self.asking(turn)
        };
        let granting = requests::grant(asking, vec![request], self.subscriptions_left(), true);
        let work = async move { (granting.await, channel, credential) };
        self.settle(turn, work, |connection, (granted, channel, credential), turn| {
            let answer = granted.map(|granted| {
                for granted in granted.into_iter().flatten() {
                    if let Granted::New(wanted, hold, traits) = granted {
                        connection.listen(wanted, hold, traits, turn.shard, turn.key);
                    } else if !connection.borrows(&channel) {
                        continue; // subscribed by its own right
                    }
                    let lapses = connection.lapses.get_or_insert_default();
                    lapses.note(channel.clone(), credential.clone());
                }
                Outcome::Subscribed(vec![Ok(())])
            });
            connection.rehear(turn.shard, turn.key);
            connection.answer(answer, turn);
        });
    }

    /// Ends the subscriptions whose credential has expired by `wall`, or was revoked.
    pub(super) fn lapse(&mut self, turn: &mut Turn<'_>, wall: u64) {
        let Some(lapses) = &self.lapses else { return };
        let authenticator = &turn.shard.node.authenticator;
        let is_over = |identity: &Identity| {
            unix_millis(identity.expires_at) <= wall || authenticator.is_revoked(identity)
        };
        let over = lapses.0.iter().filter(|(_, identity)| is_over(identity));
        let over: Vec<_> = over.map(|(channel, _)| channel.clone()).collect();
        if over.is_empty() {
            return;
        }
        for channel in &over {
            self.drop_subscription(&Subscription::Channel(channel.clone()), turn.shard, turn.key);
        }
        self.rehear(turn.shard, turn.key);
        for channel in &over {
            self.converse(turn, |talk, context, steps| talk.lapsed(channel, context, steps));
        }
        self.flush_or_wake();
    }
}
