//! Cleans up after dead nodes: removes the records of their leases, and announces that their users have left.

use std::time::Duration;

use ahash::AHashMap;
use fanfare_core::Presence as Transition;
use tokio::time::Instant;

use super::Presence;
use crate::transport::{
    PresenceStore, Stored,
    presence::{Change, Held, LeaseId},
};

/// The time for which all renewals must report a lease as expired before it is cleaned. After an outage of the store all leases
/// have expired, and each node renews its own as soon as it can.
const GRACE: Duration = Duration::from_secs(2);
/// The longest pause between two reports of expired leases. After a longer one, [`GRACE`] begins anew.
const MAX_PAUSE: Duration = Duration::from_millis(2500);
/// The records that are cleaned by one call.
const BATCH: usize = 512;
/// The age at which a claim is renewed, well before it ends.
const RECLAIM_INTERVAL: Duration = Duration::from_secs(1);

/// The leases to clean up after.
#[derive(Default)]
pub(super) struct Cleaner {
    /// The time at which each expired lease was first reported.
    expired: AHashMap<LeaseId, Instant>,
    last_report: Option<Instant>,
    /// The lease that is being cleaned, and the time of the claim.
    current: Option<(LeaseId, Option<Instant>)>,
    /// Nothing is cleaned before that time, because the store refused a call.
    paused_until: Option<Instant>,
}

impl Cleaner {
    /// Notes that the store reported exactly these `leases` as expired.
    pub(super) fn report_expired(&mut self, leases: &[LeaseId], now: Instant) {
        if self
            .last_report
            .is_none_or(|last| now.duration_since(last) > MAX_PAUSE)
        {
            self.expired.clear();
        }
        self.last_report = Some(now);
        self.expired.retain(|lease, _| leases.contains(lease));
        for lease in leases {
            self.expired.entry(*lease).or_insert(now);
        }
    }

    /// Cleans nothing before `until`.
    pub(super) fn pause(&mut self, until: Instant) {
        self.paused_until = Some(until);
    }

    /// Returns whether a lease is to be cleaned.
    pub(super) fn has_work(&mut self, now: Instant) -> bool {
        if self.paused_until.is_some_and(|until| now < until) {
            return false;
        }
        if self.current.is_none() {
            let due = |(_, since): &(&LeaseId, &Instant)| now.duration_since(**since) >= GRACE;
            let next = self.expired.iter().find(due).map(|(lease, _)| *lease);
            self.current = next.map(|lease| (lease, None));
        }
        self.current.is_some()
    }

    /// Cleans one batch of the current lease.
    pub(super) async fn clean(
        &mut self,
        presence: &Presence,
        store: &dyn PresenceStore,
        own: LeaseId,
    ) -> Stored<()> {
        let Some((dead, claimed)) = self.current else {
            return Stored::default();
        };
        if claimed.is_none_or(|at| at.elapsed() > RECLAIM_INTERVAL) {
            let claim = store.claim_cleaning(dead, own).await;
            if !claim.value {
                // Another node cleans it, or its node has renewed it.
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
            tracing::info!(lease = %dead, "cleaned up after a dead node");
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
        self.expired.remove(&dead);
        self.current = None;
    }
}

/// Returns the change that removes a record of a dead lease.
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
    fn a_lease_is_cleaned_if_it_stays_expired_while_the_store_is_available() {
        let (dead, other) = (LeaseId(1), LeaseId(2));
        let start = Instant::now();
        let at = |seconds| start + Duration::from_secs(seconds);
        let mut cleaner = Cleaner::default();
        cleaner.report_expired(&[dead, other], start);
        assert!(!cleaner.has_work(start));
        // `other` was renewed.
        cleaner.report_expired(&[dead], at(1));
        assert!(!cleaner.has_work(at(1)));
        // The store was unavailable for nine seconds.
        cleaner.report_expired(&[dead, other], at(10));
        assert!(!cleaner.has_work(at(10)));
        cleaner.report_expired(&[dead], at(11));
        cleaner.report_expired(&[dead], at(12));
        assert!(cleaner.has_work(at(12)));
        assert_eq!(cleaner.current.map(|(lease, _)| lease), Some(dead));
        cleaner.finish(dead);
        assert!(!cleaner.has_work(at(12)));
    }
}
