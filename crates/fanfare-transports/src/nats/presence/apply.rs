//! Applies the changes of a lease to the records of rooms and slots.

use std::collections::BTreeMap;

use bytes::Bytes;
use fanfare_cluster::transport::{
    Stored,
    presence::{Applied, Change, LeaseId},
};

use super::{
    super::{
        changes::{ANNOUNCEMENT, RecordChanges, RecordUpdate, by_record, index_key},
        jetstream,
        protocol::Publish,
        requests::{RequestError, ok_or_note},
    },
    Attempts, EPOCH, Presence, VERSIONS, version,
};

impl Presence {
    /// Applies `changes` for `lease`, until the end of its term.
    pub(super) async fn apply_changes(
        &self,
        lease: LeaseId,
        until: Option<u64>,
        changes: &[Change],
    ) -> Stored<Vec<Option<Applied>>> {
        let mut all = Stored {
            value: vec![None; changes.len()],
            ..Stored::default()
        };
        let result = self.try_apply(lease, until, changes, &mut all).await;
        ok_or_note(&mut all, result);
        all
    }

    /// Adds records to the lease's index, changes them, and removes from the index the records that the lease no longer holds.
    async fn try_apply(
        &self,
        lease: LeaseId,
        until: Option<u64>,
        changes: &[Change],
        all: &mut Stored<Vec<Option<Applied>>>,
    ) -> Result<(), RequestError> {
        let epoch = self.epoch().await?;
        let mut records = by_record(changes);
        if self.is_over(until).await? {
            all.value.fill(Some(Applied::Fenced));
            return Ok(());
        }
        let index = |key: &String| index_key(lease, key);
        let taken = records
            .iter()
            .filter(|(_, record)| record.changes.iter().any(|(_, change)| change.takes()));
        let entries: Vec<Publish> = taken
            .map(|(key, _)| self.bucket.put(&index(key), Bytes::new(), None))
            .collect();
        for reply in self.requests.send(entries).await {
            jetstream::stored_sequence(reply)?;
        }
        let mut attempts = Attempts::default();
        loop {
            self.attempt(lease, until, epoch, &mut records, all).await?;
            if records.values().all(|record| record.is_done) {
                break;
            }
            if attempts.are_over() {
                let open = records.values_mut().filter(|record| !record.is_done);
                open.for_each(|record| record.fence(&mut all.value));
                break;
            }
            attempts.pause().await;
        }
        let unheld = records
            .iter()
            .filter(|(_, record)| record.is_done && !record.is_held);
        self.remove(&unheld.map(|(key, _)| index(key)).collect::<Vec<_>>())
            .await
    }

    /// Attempts the changes of each record that is not done.
    async fn attempt(
        &self,
        lease: LeaseId,
        until: Option<u64>,
        epoch: u64,
        records: &mut BTreeMap<String, RecordChanges<'_>>,
        all: &mut Stored<Vec<Option<Applied>>>,
    ) -> Result<(), RequestError> {
        let mut open: Vec<_> = records.iter_mut().filter(|(_, record)| !record.is_done).collect();
        let keys: Vec<String> = open.iter().map(|(key, _)| (*key).clone()).collect();
        let found = self.get(&keys).await;
        let is_over = self.is_over(until).await?;
        let (mut puts, mut updates) = (Vec::new(), Vec::new());
        for ((key, record), found) in open.iter_mut().zip(found) {
            let Some(found) = ok_or_note(all, found) else {
                record.give_up();
                continue;
            };
            let (value, sequence) = found.unwrap_or_default();
            // The removal of a dead node's members has no limit here: the members cannot stay, unless the server refuses the removal.
            let limit = until.map_or(usize::MAX, |_| self.requests.max_payload);
            let update = record.update(lease, &value, until.is_none(), limit);
            if is_over && update.is_changed {
                record.fence(&mut all.value);
            } else if update.is_changed {
                puts.push(self.put(key, &update, sequence, epoch));
                updates.push((record, update));
            } else {
                let now = version(epoch, sequence, VERSIONS - 1);
                record.finish(update, now, &mut all.value);
            }
        }
        for (reply, (record, update)) in self.requests.send(puts).await.into_iter().zip(updates) {
            match ok_or_note(all, jetstream::stored_sequence(reply)) {
                Some(Some(sequence)) => {
                    if update.value.is_empty() {
                        self.empty.add(sequence);
                    }
                    let before = version(epoch, sequence, 0) - 1;
                    record.finish(update, before, &mut all.value);
                }
                Some(None) => {}
                None => record.give_up(),
            }
        }
        Ok(())
    }

    /// Returns the request that stores `update` and announces its transitions, if the record's last change is `sequence`.
    fn put(&self, key: &str, update: &RecordUpdate, sequence: u64, epoch: u64) -> Publish {
        let mut put = self.bucket.put(key, update.value.clone().into(), Some(sequence));
        if !update.announcements.is_empty() {
            put.headers.push((EPOCH, epoch.to_string()));
        }
        let announcements = update.announcements.iter();
        put.headers
            .extend(announcements.map(|text| (ANNOUNCEMENT, text.clone())));
        put
    }

    /// Returns whether the term that ends at `until` is over by the server's clock.
    async fn is_over(&self, until: Option<u64>) -> Result<bool, RequestError> {
        match until {
            Some(until) => Ok(self.server_time().await? > until),
            None => Ok(false),
        }
    }

    /// Removes index entries.
    pub(super) async fn remove(&self, keys: &[String]) -> Result<(), RequestError> {
        let mut deletions = Vec::new();
        for found in self.get(keys).await {
            deletions.extend(found?.map(|(_, sequence)| self.bucket.delete(sequence)));
        }
        for reply in self.requests.send(deletions).await {
            reply?;
        }
        Ok(())
    }
}
