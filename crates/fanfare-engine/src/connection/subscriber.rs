//! A connection's identity and subscriptions.

use std::sync::Arc;

use fanfare_core::{Channel, EVERYONE_CHANNEL, Identity, Opening, Receives, Reception, Subscription};

use super::{
    splice::Splice,
    subscriptions::{Subscriptions, Traits, shows_channel, shows_user},
};

/// One connection's identity and subscriptions. Its shard's directory keeps the index in step with them.
#[derive(Default)]
#[allow(clippy::struct_excessive_bools, reason = "the states are independent")]
pub(crate) struct Subscriber {
    /// Its verified identity. It stays after the credential has expired, because the connection cannot change its user.
    pub(crate) identity: Option<Arc<Identity>>,
    pub(crate) subscriptions: Option<Box<Subscriptions>>,
    /// In a box, because few connections have any.
    pub(super) extras: Option<Box<Extras>>,
    /// Whether the node counts it among the connections of its user.
    pub(crate) holds_user: bool,
    pub(crate) receives_user: bool,
    pub(crate) receives_everyone: bool,
    /// Whether the credential has expired. The connection then receives no events until there is a new one.
    pub(crate) is_paused: bool,
    /// Whether it takes no events now, because it is paused or live events are held back.
    pub(super) is_blocked: bool,
    /// Whether it was removed from its rooms and the index.
    pub(crate) is_deregistered: bool,
}

/// The parts of a subscriber that few connections have.
#[derive(Default)]
pub(super) struct Extras {
    /// The credentials of single subscriptions.
    credentials: SubscriptionCredentials,
    /// Set once its events carry cursors.
    pub(super) splice: Option<Splice>,
    /// The requests in its handshake, until its conversation has begun.
    pub(super) opening: Option<Box<Opening>>,
    /// The refusal of its conversation, for a client that still waits for its response.
    pub(super) refusal: Option<(u16, Box<str>)>,
}

/// The credentials of subscriptions that have another credential than the connection.
#[derive(Default)]
struct SubscriptionCredentials {
    each: Vec<(Channel, Arc<Identity>)>,
    /// The time of the next check, in milliseconds since 1970: now (0), or the first expiry.
    due: u64,
}

impl SubscriptionCredentials {
    fn set(&mut self, channel: Channel, credential: Arc<Identity>) {
        self.forget(&channel);
        self.each.push((channel, credential));
        self.due = 0;
    }

    fn forget(&mut self, channel: &Channel) {
        self.each.retain(|(own, _)| own != channel);
    }

    fn of(&self, channel: &Channel) -> Option<&Identity> {
        let mut each = self.each.iter();
        each.find_map(|(own, credential)| (own == channel).then_some(&**credential))
    }

    /// Returns the channels whose credential has expired by `now` or `is_revoked`, if a check is due.
    fn lapsed(&mut self, now: u64, is_revoked: impl Fn(&Identity) -> bool) -> Vec<Channel> {
        let mut lapsed = Vec::new();
        if self.due > now {
            return lapsed;
        }
        self.due = u64::MAX;
        for (channel, credential) in &self.each {
            let end = credential.expires_at_ms;
            if end <= now || is_revoked(credential) {
                lapsed.push(channel.clone());
            } else {
                self.due = self.due.min(end);
            }
        }
        lapsed
    }
}

impl Subscriber {
    /// Returns its identity, unless the credential has expired.
    pub(crate) fn valid_identity(&self) -> Option<&Arc<Identity>> {
        self.identity.as_ref().filter(|_| !self.is_paused)
    }

    pub(crate) fn all(&self) -> impl Iterator<Item = &Subscription> {
        self.subscriptions.iter().flat_map(|own| own.all())
    }

    pub(crate) fn count(&self) -> usize {
        self.subscriptions.as_ref().map_or(0, |own| own.len())
    }

    pub(crate) fn is_subscribed(&self, wanted: &Subscription) -> bool {
        self.traits_of(wanted).is_some()
    }

    pub(crate) fn is_member(&self, room: &Subscription) -> bool {
        self.traits_of(room).is_some_and(|traits| traits.member)
    }

    fn traits_of(&self, wanted: &Subscription) -> Option<Traits> {
        self.subscriptions.as_ref()?.get(wanted)
    }

    /// Returns whether one of its subscriptions shows `channel`.
    pub(crate) fn is_shown(&self, channel: &Channel) -> bool {
        self.all().any(|wanted| shows_channel(wanted, channel))
    }

    fn subscription_credential(&self, channel: &Channel) -> Option<&Identity> {
        self.extras.as_ref()?.credentials.of(channel)
    }

    /// Returns whether its subscription to `channel` has another credential than the connection.
    pub(crate) fn has_credential(&self, channel: &Channel) -> bool {
        self.subscription_credential(channel).is_some()
    }

    /// Returns the credential by which it receives `channel`: the subscription's, or else the connection's.
    pub(crate) fn reader(&self, channel: &Channel) -> Option<&Identity> {
        self.subscription_credential(channel).or(self.identity.as_deref())
    }

    /// Sets the credential of its subscription to `channel`.
    pub(crate) fn set_credential(&mut self, channel: Channel, credential: Arc<Identity>) {
        let extras = self.extras.get_or_insert_default();
        extras.credentials.set(channel, credential);
    }

    /// Removes the credential and the cursor of a subscription that has ended.
    pub(crate) fn forget(&mut self, ended: &Subscription) {
        let Some(extras) = &mut self.extras else { return };
        if let Subscription::Channel(channel) = ended {
            extras.credentials.forget(channel);
        }
        if let Some(splice) = &mut extras.splice {
            splice.forget(ended);
        }
    }

    pub(super) fn opening(&self) -> Option<&Opening> {
        self.extras.as_ref()?.opening.as_deref()
    }

    pub(super) fn splice(&self) -> Option<&Splice> {
        self.extras.as_ref()?.splice.as_ref()
    }

    pub(super) fn splice_mut(&mut self) -> Option<&mut Splice> {
        self.extras.as_mut()?.splice.as_mut()
    }

    /// Schedules a check of the subscriptions' credentials, because a credential was revoked.
    pub(crate) fn recheck_credentials(&mut self) {
        if let Some(extras) = &mut self.extras {
            extras.credentials.due = 0;
        }
    }

    /// Returns the channels whose subscription's credential has expired by `now`, in milliseconds since 1970, or `is_revoked`.
    pub(crate) fn lapsed(&mut self, now: u64, is_revoked: impl Fn(&Identity) -> bool) -> Vec<Channel> {
        let extras = self.extras.as_mut();
        extras.map_or_else(Vec::new, |extras| extras.credentials.lapsed(now, is_revoked))
    }

    /// Returns whether it should receive its user's events, and those for everyone, by its dialect's rule and its subscriptions.
    pub(crate) fn should_receive(&self, reception: Reception) -> (bool, bool) {
        let own = self.subscriptions.as_ref();
        let showing = own.map_or((0, 0), |own| (own.showing_user, own.showing_everyone));
        let receives = |how: Receives, showing: u32| match how {
            Receives::Always => true,
            Receives::Never => false,
            Receives::Subscribed => showing > 0,
        };
        (
            self.identity.is_some() && receives(reception.user, showing.0),
            receives(reception.everyone, showing.1),
        )
    }

    /// Recomputes the traits of its subscriptions, after its identity has changed. `everyone` is whether a pattern may show events
    /// for everyone, if that is known.
    pub(crate) fn reassess(&mut self, everyone: Option<bool>) {
        let (Some(own), Some(identity)) = (&mut self.subscriptions, &self.identity) else {
            return;
        };
        own.reassess(|wanted, was| Traits {
            shows_user: shows_user(wanted, &identity.user),
            shows_everyone: match (wanted, everyone) {
                (Subscription::Pattern(pattern), Some(may)) => may && pattern.matches(EVERYONE_CHANNEL),
                _ => was.shows_everyone,
            },
            ..was
        });
    }
}
