//! Subscriptions by a credential of their own (`Command::SubscribeBy`): they end with it.

use std::sync::Arc;

use fanfare_core::{Channel, Denial, Identity, Outcome, Subscription};

use super::{
    connection::Connection,
    requests::{self, Asking, Granted},
    talk::{Turn, unix_millis},
};

/// A connection's subscriptions by other credentials than its own, each with that.
#[derive(Default)]
pub(super) struct Lapses {
    each: Vec<(Channel, Arc<Identity>)>,
    /// When they are looked at, in milliseconds since 1970: now (0), or when the first of the credentials expires.
    due: u64,
}

impl Lapses {
    fn note(&mut self, channel: Channel, identity: Arc<Identity>) {
        self.forget(&channel);
        self.each.push((channel, identity));
        self.due = 0;
    }

    pub(super) fn forget(&mut self, channel: &Channel) {
        self.each.retain(|(own, _)| own != channel);
    }

    fn credential(&self, channel: &Channel) -> Option<&Identity> {
        let mut each = self.each.iter();
        each.find_map(|(own, identity)| (own == channel).then_some(&**identity))
    }
}

impl Connection {
    fn borrowed(&self, channel: &Channel) -> Option<&Identity> {
        self.lapses.as_ref()?.credential(channel)
    }

    /// Whether it is subscribed to `channel` by a credential other than its own.
    pub(super) fn borrows(&self, channel: &Channel) -> bool {
        self.borrowed(channel).is_some()
    }

    /// The credential by which it receives `channel`: the subscription's, or else the connection's own.
    pub(super) fn reader(&self, channel: &Channel) -> Option<&Identity> {
        self.borrowed(channel).or(self.identity.as_deref())
    }

    /// Subscribes to `channel` if `credential`, which is of the connection's user, may.
    pub(super) fn subscribe_by(&mut self, channel: Channel, credential: Arc<Identity>, turn: &mut Turn<'_>) {
        if self.proven().is_none_or(|own| own.user != credential.user) {
            return self.answer(Err(Denial::OtherUser), turn);
        }
        let request = self.request(&Subscription::Channel(channel.clone()), Some(&credential), turn);
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
                        let lapses = connection.lapses.get_or_insert_default();
                        lapses.note(channel.clone(), credential.clone());
                    }
                }
                Outcome::Subscribed(vec![Ok(())])
            });
            connection.rehear(turn.shard, turn.key);
            connection.answer(answer, turn);
        });
    }

    /// Looks at all of them soon: a credential was revoked.
    pub(super) fn lapse_soon(&mut self) {
        if let Some(lapses) = &mut self.lapses {
            lapses.due = 0;
        }
    }

    /// Ends the subscriptions whose credential has expired by `wall`, or was revoked.
    pub(super) fn lapse(&mut self, turn: &mut Turn<'_>, wall: u64) {
        let Some(lapses) = self.lapses.as_mut().filter(|lapses| lapses.due <= wall) else {
            return;
        };
        let authenticator = &turn.shard.node.authenticator;
        let (mut over, mut due) = (Vec::new(), u64::MAX);
        for (channel, identity) in &lapses.each {
            let end = unix_millis(identity.expires_at);
            if end <= wall || authenticator.is_revoked(identity) {
                over.push(channel.clone());
            } else {
                due = due.min(end);
            }
        }
        lapses.due = due;
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
