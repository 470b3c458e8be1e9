//! Cleans up after nodes that died: removes what their leases held, and announces who is gone with them.

use std::time::Duration;

use ahash::AHashMap;
use fanfare_core::Presence as Transition;
use tokio::time::Instant;

use super::Presence;
use crate::transport::{
    PresenceStore, Stored,
    presence::{Change, Held, LeaseId},
};

/// For how long a lease must have been seen expired, without a gap, before it is cleaned. After an outage of the store all
/// leases have expired, and each node renews its own as soon as it can.
const GRACE: Duration = Duration::from_secs(2);
/// Between two renewals that count as without a gap.
const GAP: Duration = Duration::from_millis(2500);
/// Records that are cleaned at once.
const BATCH: usize = 512;
/// After this time a claim is made again: well before it ends.
const CLAIM_AGAIN: Duration = Duration::from_secs(1);

/// The leases to clean up after.
#[derive(Default)]
pub(super) struct Cleaner {
    /// When each expired lease was first seen.
    seen: AHashMap<LeaseId, Instant>,
    last_seen: Option<Instant>,
    /// What is being cleaned, and when that was claimed.
    current: Option<(LeaseId, Option<Instant>)>,
    /// The store has refused something; nothing is cleaned before that time.
    paused_until: Option<Instant>,
}

impl Cleaner {
    /// These leases have expired, says the store now.
    pub(super) fn expired(&mut self, leases: &[LeaseId], now: Instant) {
        if self.last_seen.is_none_or(|last| now.duration_since(last) > GAP) {
            self.seen.clear();
        }
        self.last_seen = Some(now);
        self.seen.retain(|lease, _| leases.contains(lease));
        for lease in leases {
            self.seen.entry(*lease).or_insert(now);
        }
    }

    /// Nothing is cleaned before `until`.
    pub(super) fn pause(&mut self, until: Instant) {
        self.paused_until = Some(until);
    }

    /// Whether there is something to clean.
    pub(super) fn has_work(&mut self, now: Instant) -> bool {
        if self.paused_until.is_some_and(|until| now < until) {
            return false;
        }
        if self.current.is_none() {
            let due = |(_, since): &(&LeaseId, &Instant)| now.duration_since(**since) >= GRACE;
            let next = self.seen.iter().find(due).map(|(lease, _)| *lease);
            self.current = next.map(|lease| (lease, None));
        }
        self.current.is_some()
    }

    /// Cleans one batch. Returns why the store refused, and whether the connection was lost.
    pub(super) async fn clean(
        &mut self,
        presence: &Presence,
        store: &dyn PresenceStore,
        own: LeaseId,
    ) -> Stored<()> {
        let Some((dead, claimed)) = self.current else {
            return Stored::default();
        };
        if claimed.is_none_or(|at| at.elapsed() > CLAIM_AGAIN) {
            let claim = store.claim_cleaning(dead, own).await;
            if !claim.value {
                // Another node cleans, or the node is back.
                self.finish(dead);
                return claim.map(drop);
            }
            self.current = Some((dead, Some(Instant::now())));
        }
        let held = store.held(dead, BATCH).await;
        if held.lost || held.refused.is_some() {
            self.current = None;
            return held.map(drop);
        }
        if held.value.is_empty() {
            self.finish(dead);
            presence.state().counts.cleaned_leases += 1;
            tracing::info!(lease = %dead, "cleaned up after a node that is gone");
            return store.forget(dead, true).await;
        }
        let changes: Vec<Change> = held
            .value
            .into_iter()
            .map(|held| change(presence, held))
            .collect();
        let cleaned = store.apply(dead, None, &changes).await;
        if cleaned.lost || cleaned.refused.is_some() {
            self.current = None;
        }
        cleaned.map(drop)
    }

    fn finish(&mut self, dead: LeaseId) {
        self.seen.remove(&dead);
        self.current = None;
    }
}

/// What becomes of a record that a dead lease may hold.
fn change(presence: &Presence, held: Held) -> Change {
    match held {
        Held::Member { room, user, member } => {
            let text = member.and_then(|member| presence.announcement(Transition::Left, &room, &member, 0));
            Change::Leave {
                announcement: text,
                room,
                user,
                even_if_unheld: false,
            }
        }
        Held::Slot(slot) => Change::Slot {
            slot,
            count: 0,
            most: None,
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lease_is_cleaned_if_it_stays_expired_while_the_store_is_there() {
        let (dead, other) = (LeaseId(1), LeaseId(2));
        let start = Instant::now();
        let at = |seconds| start + Duration::from_secs(seconds);
        let mut cleaner = Cleaner::default();
        cleaner.expired(&[dead, other], start);
        assert!(!cleaner.has_work(start));
        // One is back.
        cleaner.expired(&[dead], at(1));
        assert!(!cleaner.has_work(at(1)));
        // The store was away.
        cleaner.expired(&[dead, other], at(10));
        assert!(!cleaner.has_work(at(10)));
        cleaner.expired(&[dead], at(11));
        cleaner.expired(&[dead], at(12));
        assert!(cleaner.has_work(at(12)));
        assert_eq!(cleaner.current.map(|(lease, _)| lease), Some(dead));
        cleaner.finish(dead);
        assert!(!cleaner.has_work(at(12)));
    }
}
