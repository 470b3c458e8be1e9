//! Audiences that clients rely on though it is not known what this node has received of them: the journal did not answer when it began to
//! receive them. Nothing here does I/O.

use ahash::AHashMap;
use fanfare_core::Audience;

/// From which numbers on clients rely on audiences. A number is one that the journal had reached before.
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

    /// Forgets the audiences that are not `wanted`, and that all channels are relied on.
    pub(super) fn retain(&mut self, wanted: impl Fn(&Audience) -> bool) {
        self.named.retain(|audience, _| wanted(audience));
        self.all_channels = None;
    }

    /// An event arrives, with `prev` before it. From here on what is received is known. Returns whether something may be lost before it.
    pub(super) fn is_lost_before(&mut self, audience: &Audience, is_watched: bool, prev: u64) -> bool {
        let is_channel = matches!(audience, Audience::Channel(_));
        let as_one_of_all = self.all_channels.filter(|_| is_channel && !is_watched);
        let by_name = self.named.remove(audience);
        let since = by_name.into_iter().chain(as_one_of_all).min();
        since.is_some_and(|since| prev > since)
    }

    /// The last number of an audience is known, of which nothing has arrived. Returns whether something may be lost.
    pub(super) fn is_lost(&mut self, audience: &Audience, top: u64) -> bool {
        self.named.remove(audience).is_some_and(|since| top > since)
    }

    /// From which number on all channels are relied on.
    pub(super) fn all_channels(&self) -> Option<u64> {
        self.all_channels
    }

    /// The channels with higher numbers than `since` are known.
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
    fn only_what_may_lie_behind_the_number_is_lost() {
        let [a, b, c, d] = ["a", "b", "c", "d"].map(|name| Audience::Channel(Channel::new(name).unwrap()));
        let mut uncertain = Uncertain::default();
        for audience in [&a, &b, &c] {
            uncertain.add(audience.clone(), 7);
            uncertain.add(audience.clone(), 9);
        }
        assert!(!uncertain.is_lost_before(&a, false, 7));
        assert!(
            !uncertain.is_lost_before(&a, false, 9),
            "it is known from its first event on"
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
