//! The audiences of which this node may have missed events, because the journal did not answer when the node began to receive them.
//! This module does no I/O.

use ahash::AHashMap;
use fanfare_core::Audience;

/// The uncertain audiences. The number of each is one that the journal had reached before: only higher numbers may be lost.
#[derive(Default)]
pub(super) struct Uncertain {
    named: AHashMap<Audience, u64>,
    all_channels: Option<u64>,
}

impl Uncertain {
    pub(super) fn is_empty(&self) -> bool {
        self.named.is_empty() && self.all_channels.is_none()
    }

    pub(super) fn add(&mut self, audience: Audience, number: u64) {
        self.named.entry(audience).or_insert(number);
    }

    pub(super) fn add_all_channels(&mut self, number: u64) {
        self.all_channels.get_or_insert(number);
    }

    pub(super) fn forget(&mut self, audience: &Audience) {
        self.named.remove(audience);
    }

    /// Removes the audiences that are not `wanted`, and all channels.
    pub(super) fn retain(&mut self, wanted: impl Fn(&Audience) -> bool) {
        self.named.retain(|audience, _| wanted(audience));
        self.all_channels = None;
    }

    /// Makes an audience certain, because an event of it arrives with the previous number `prev`. Returns whether earlier events may be lost.
    pub(super) fn is_lost_before(&mut self, audience: &Audience, is_watched: bool, prev: u64) -> bool {
        let is_channel = matches!(audience, Audience::Channel(_));
        let as_one_of_all = self.all_channels.filter(|_| is_channel && !is_watched);
        let by_name = self.named.remove(audience);
        let since = by_name.into_iter().chain(as_one_of_all).min();
        since.is_some_and(|since| prev > since)
    }

    /// Makes an audience certain, because its last number is known and no event of it has arrived. Returns whether events may be lost.
    pub(super) fn is_lost(&mut self, audience: &Audience, top: u64) -> bool {
        self.named.remove(audience).is_some_and(|since| top > since)
    }

    /// Returns the number from which on all channels are uncertain.
    pub(super) fn all_channels(&self) -> Option<u64> {
        self.all_channels
    }

    /// Makes all channels certain, because those with higher numbers than `since` are known.
    pub(super) fn all_channels_known(&mut self, since: Option<u64>) {
        if self.all_channels == since {
            self.all_channels = None;
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use fanfare_core::Channel;

    use super::*;

    #[test]
    fn only_events_after_the_number_may_be_lost() {
        let [a, b, c, d] = ["a", "b", "c", "d"].map(|name| Audience::Channel(Channel::new(name).unwrap()));
        let mut uncertain = Uncertain::default();
        for audience in [&a, &b, &c] {
            uncertain.add(audience.clone(), 7);
            uncertain.add(audience.clone(), 9);
        }
        assert!(!uncertain.is_lost_before(&a, false, 7));
        assert!(
            !uncertain.is_lost_before(&a, false, 9),
            "the first event makes the audience certain"
        );
        assert!(uncertain.is_lost_before(&b, false, 8));
        assert!(!uncertain.is_lost(&b, 12));
        assert!(uncertain.is_lost(&c, 8));
        uncertain.add_all_channels(5);
        assert!(uncertain.is_lost_before(&d, false, 6));
        assert!(!uncertain.is_lost_before(&d, true, 6));
        assert!(!uncertain.is_lost_before(&Audience::Everyone, false, 6));
        uncertain.all_channels_known(Some(4));
        assert_eq!(uncertain.all_channels(), Some(5));
        uncertain.all_channels_known(Some(5));
        assert!(!uncertain.is_lost_before(&d, false, 6));
    }
}
