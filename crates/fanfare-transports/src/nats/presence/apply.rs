//! Applies the changes of a lease to the records of rooms and slots.

use std::collections::BTreeMap;

use bytes::Bytes;
use fanfare_cluster::transport::{
    Stored,
    presence::{Applied, Change, LeaseId},
};

use super::{
    super::{
        changes::{ANNOUNCEMENT, Group, Outcome, groups, index_key},
        jetstream,
        protocol::Publish,
        questions::{Unanswered, note},
    },
    Attempts, CHANGES, EPOCH, Presence, VERSIONS, version,
};

impl Presence {
    /// Applies `changes` for `lease` in batches, until the end of its term.
    pub(super) async fn change_records(
        &self,
        lease: LeaseId,
        until: Option<u64>,
        changes: &[Change],
    ) -> Stored<Vec<Option<Applied>>> {
        let mut all = Stored::<Vec<Option<Applied>>>::default();
        for some in changes.chunks(CHANGES) {
            let start = all.value.len();
            all.value.resize(start + some.len(), None);
            let result = self.change_some(lease, until, some, &mut all, start).await;
            note(&mut all, result);
            if all.lost {
                break;
            }
        }
        all.value.resize(changes.len(), None);
        all
    }

    /// Adds records to the lease's index, changes them, and removes from the index those that the lease no longer holds.
    async fn change_some(
        &self,
        lease: LeaseId,
        until: Option<u64>,
        changes: &[Change],
        all: &mut Stored<Vec<Option<Applied>>>,
        start: usize,
    ) -> Result<(), Unanswered> {
        let epoch = self.epoch().await?;
        let mut groups = groups(changes);
        if self.is_over(until).await? {
            all.value[start..].fill(Some(Applied::Fenced));
            return Ok(());
        }
        let index = |key: &String| index_key(lease, key);
        let taken = groups
            .iter()
            .filter(|(_, group)| group.changes.iter().any(|(_, change)| change.takes()));
        let entries = taken.map(|(key, _)| self.bucket.put(&index(key), Bytes::new(), None));
        let entries: Vec<Publish> = entries.collect();
        for answer in self.questions.ask(entries).await {
            jetstream::change(answer)?;
        }
        let mut attempts = Attempts::default();
        loop {
            self.try_changes(lease, until, epoch, &mut groups, all, start)
                .await?;
            if groups.values().all(|group| group.is_done) {
                break;
            }
            if attempts.are_over() {
                let open = groups.values_mut().filter(|group| !group.is_done);
                open.for_each(|group| group.fence(&mut all.value[start..]));
                break;
            }
            attempts.pause().await;
        }
        let unheld = groups.iter().filter(|(_, group)| group.is_done && !group.is_held);
        self.remove(&unheld.map(|(key, _)| index(key)).collect::<Vec<_>>())
            .await
    }

    /// Tries to make the changes of each group that is not done.
    async fn try_changes(
        &self,
        lease: LeaseId,
        until: Option<u64>,
        epoch: u64,
        groups: &mut BTreeMap<String, Group<'_>>,
        all: &mut Stored<Vec<Option<Applied>>>,
        start: usize,
    ) -> Result<(), Unanswered> {
        let open: Vec<String> = groups
            .iter()
            .filter(|(_, group)| !group.is_done)
            .map(|(key, _)| key.clone())
            .collect();
        let found = self.get(&open).await;
        let is_over = self.is_over(until).await?;
        let (mut puts, mut changed) = (Vec::new(), Vec::new());
        for (key, found) in open.into_iter().zip(found) {
            let Some(group) = groups.get_mut(&key) else {
                continue;
            };
            let Some(found) = note(all, found) else {
                group.give_up();
                continue;
            };
            let (value, sequence) = found.unwrap_or_default();
            // The removal of a dead node's members has no limit here: they cannot stay, unless the server refuses it.
            let limit = until.map_or(usize::MAX, |_| self.questions.max_payload);
            let outcome = group.outcome(lease, &value, until.is_none(), limit);
            if is_over && outcome.is_changed {
                group.fence(&mut all.value[start..]);
            } else if outcome.is_changed {
                puts.push(self.put(&key, &outcome, sequence, epoch));
                changed.push((key, outcome));
            } else {
                let now = version(epoch, sequence, VERSIONS - 1);
                group.finish(outcome, now, &mut all.value[start..]);
            }
        }
        for (answer, (key, outcome)) in self.questions.ask(puts).await.into_iter().zip(changed) {
            let Some(group) = groups.get_mut(&key) else {
                continue;
            };
            match note(all, jetstream::change(answer)) {
                Some(Some(sequence)) => {
                    if outcome.value.is_empty() {
                        self.empty.add(sequence);
                    }
                    let before = version(epoch, sequence, 0) - 1;
                    group.finish(outcome, before, &mut all.value[start..]);
                }
                Some(None) => {}
                None => group.give_up(),
            }
        }
        Ok(())
    }

    /// Returns the request that stores `outcome` and announces its transitions, if the last change is `sequence`.
    fn put(&self, key: &str, outcome: &Outcome, sequence: u64, epoch: u64) -> Publish {
        let mut put = self.bucket.put(key, outcome.value.clone().into(), Some(sequence));
        if !outcome.announcements.is_empty() {
            put.headers.push((EPOCH, epoch.to_string()));
        }
        let announcements = outcome.announcements.iter();
        put.headers
            .extend(announcements.map(|text| (ANNOUNCEMENT, text.clone())));
        put
    }

    /// Returns whether the term that ends at `until` is over by the server's clock.
    async fn is_over(&self, until: Option<u64>) -> Result<bool, Unanswered> {
        match until {
            Some(until) => Ok(self.server_time().await? > until),
            None => Ok(false),
        }
    }

    /// Removes index entries.
    pub(super) async fn remove(&self, keys: &[String]) -> Result<(), Unanswered> {
        let mut deletions = Vec::new();
        for found in self.get(keys).await {
            deletions.extend(found?.map(|(_, sequence)| self.bucket.delete(sequence)));
        }
        for answer in self.questions.ask(deletions).await {
            answer?;
        }
        Ok(())
    }
}
