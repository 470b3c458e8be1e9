//! Presence in JetStream: each room, each slot and each lease is a key of one bucket, changed by comparing sequence numbers. One more key
//! lists the leases; it changes when a node joins or leaves.
//!
//! A room's announcements are headers of the message that changes its record. The bucket republishes the headers on the room's channel, in
//! the order of the changes. The index of a lease is a key for each record in which the lease may hold something.
//!
//! A record without holders stays for a while as an empty one: otherwise a late write that expects no record would succeed.

mod apply;

use std::{
    sync::Arc,
    time::{Duration, Instant, SystemTime},
};

use bytes::Bytes;
use fanfare_cluster::transport::{
    PresenceStore, Stored,
    presence::{Applied, Change, Held, LEASE_LIFETIME, Lease, LeaseId, Renewal, RoomMembers},
};
use fanfare_core::{BoxFuture, Channel};

use super::{
    changes::{ANNOUNCEMENT, ROOM, RecordName, VERSIONS, index_key, read_key, room_key},
    empty_records::EmptyRecords,
    ids::Ids,
    jetstream::{self, Bucket},
    names::Names,
    protocol::ServerMessage,
    records::{LeaseState, Room, lease_names, write_lease_names},
    requests::{Cached, RequestError, Requests, ok_or_note},
};

/// The bucket's name, behind the prefix.
const BUCKET: &str = "fanfare-presence";
/// The key that lists the leases.
const LEASES: &str = "leases";
/// The header with the bucket's time of creation, in microseconds. Versions begin there, so that they grow even if the bucket is created
/// again.
const EPOCH: &str = "Fanfare-Epoch";
/// The most records of an index that are read at once.
const BATCH: usize = 256;
/// The time for which a change is retried that other nodes preempt. The caller retries it later.
const PATIENCE: Duration = Duration::from_secs(3);

/// The bucket, through one connection.
pub(super) struct Presence {
    requests: Arc<Requests>,
    /// Reads the server's clock.
    ids: Arc<Ids>,
    bucket: Bucket,
    /// The subject below which rooms are announced.
    channels: String,
    /// The bucket's time of creation, in microseconds.
    epoch: Cached<u64>,
    empty: Arc<EmptyRecords>,
    opened_at: Instant,
}

impl Presence {
    pub(super) fn new(
        names: &Names,
        requests: Arc<Requests>,
        ids: Arc<Ids>,
        empty: Arc<EmptyRecords>,
    ) -> Self {
        Self {
            requests,
            ids,
            bucket: Bucket::new(&names.bucket(BUCKET)),
            channels: names.channels(),
            epoch: Cached::default(),
            empty,
            opened_at: Instant::now(),
        }
    }
}

impl PresenceStore for Presence {
    fn renew(&self, lease: Lease) -> BoxFuture<'_, Stored<Option<Renewal>>> {
        Box::pin(async move {
            let renewal = self.renew_lease(lease).await;
            self.remove_empty_records().await;
            stored(renewal.map(Some))
        })
    }

    fn apply<'a>(
        &'a self,
        lease: LeaseId,
        until: Option<u64>,
        changes: &'a [Change],
    ) -> BoxFuture<'a, Stored<Vec<Option<Applied>>>> {
        Box::pin(self.apply_changes(lease, until, changes))
    }

    fn members<'a>(&'a self, rooms: &'a [Channel]) -> BoxFuture<'a, Stored<Vec<Option<RoomMembers>>>> {
        Box::pin(async move {
            let mut all = Stored::<Vec<Option<RoomMembers>>>::default();
            let Some(epoch) = ok_or_note(&mut all, self.epoch().await) else {
                all.value = vec![None; rooms.len()];
                return all;
            };
            let keys: Vec<String> = rooms.iter().map(room_key).collect();
            for found in self.get(&keys).await {
                let found = ok_or_note(&mut all, found);
                all.value.push(found.map(|found| match found {
                    Some((value, sequence)) => {
                        Room::read(&value).members(version(epoch, sequence, VERSIONS - 1))
                    }
                    None => RoomMembers::default(),
                }));
            }
            all
        })
    }

    fn claim_cleaning(&self, dead: LeaseId, cleaner: LeaseId) -> BoxFuture<'_, Stored<bool>> {
        Box::pin(async move {
            let claim = self.change_lease(dead, |state, now| LeaseState::claim(state, cleaner, now));
            stored(claim.await)
        })
    }

    fn held(&self, dead: LeaseId, most: usize) -> BoxFuture<'_, Stored<Vec<Held>>> {
        Box::pin(async move { stored(self.held_by(dead, most).await) })
    }

    fn forget(&self, id: LeaseId, cleaned: bool) -> BoxFuture<'_, Stored<()>> {
        Box::pin(async move {
            let forgotten = self.change_lease(id, |state, now| {
                *state = cleaned.then_some(LeaseState::Cleaned { since: now });
            });
            stored(match forgotten.await {
                Ok(()) if !cleaned => self.list_lease(id, false).await,
                result => result,
            })
        })
    }

    fn expire(&self, id: LeaseId) -> BoxFuture<'_, Stored<()>> {
        Box::pin(async move {
            stored(
                match self.change_lease(id, |state, _| LeaseState::expire(state)).await {
                    Ok(()) => self.list_lease(id, true).await,
                    result => result,
                },
            )
        })
    }
}

impl Presence {
    /// Creates the bucket if it is missing. Returns its time of creation, in microseconds.
    async fn epoch(&self) -> Result<u64, RequestError> {
        let create = async {
            let republish = Some((ROOM, &*self.channels));
            let created = self.bucket.create(&self.requests, None, republish).await?;
            let created = created.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
            Ok(u64::try_from(created.as_micros()).unwrap_or(0))
        };
        self.epoch.get(&self.requests, |_| true, create).await
    }

    /// Returns the time by the server's clock, in milliseconds.
    async fn server_time(&self) -> Result<u64, RequestError> {
        Ok(self.ids.prepare().await?.now_ms())
    }

    /// Returns the value of each of `keys`, and the number of its last change.
    async fn get(&self, keys: &[String]) -> Vec<Result<Option<(Bytes, u64)>, RequestError>> {
        let requests = keys.iter().map(|key| self.bucket.get(key));
        let replies = self.requests.send(requests).await.into_iter();
        let found = |reply| Ok(jetstream::stored_value(reply)?.map(|found| (found.value, found.sequence)));
        replies.map(found).collect()
    }

    /// As [`Self::get`], for one key; an empty value and 0 if it has none.
    async fn get_one(&self, key: &str) -> Result<(Bytes, u64), RequestError> {
        let found = self.get(&[key.to_owned()]).await.pop();
        Ok(found.unwrap_or(Err(RequestError::Lost))?.unwrap_or_default())
    }

    /// Changes the value of `key`. Retries as long as other nodes change it first.
    async fn change_key<T>(
        &self,
        key: &str,
        change: impl Fn(&[u8]) -> (Vec<u8>, T),
    ) -> Result<T, RequestError> {
        let mut attempts = Attempts::default();
        loop {
            let (value, sequence) = self.get_one(key).await?;
            let (changed, result) = change(&value);
            if changed == value {
                return Ok(result);
            }
            let is_empty = changed.is_empty();
            let put = self.bucket.put(key, changed.into(), Some(sequence));
            if let Some(sequence) = jetstream::stored_sequence(self.requests.send_one(put).await)? {
                if is_empty {
                    self.empty.add(sequence);
                }
                return Ok(result);
            }
            attempts.pause().await;
        }
    }

    /// Changes the lease `id`. Only its node and a cleaner change its key.
    async fn change_lease<T>(
        &self,
        id: LeaseId,
        change: impl Fn(&mut Option<LeaseState>, u64) -> T,
    ) -> Result<T, RequestError> {
        self.epoch().await?;
        let now = self.server_time().await?;
        let change = |value: &[u8]| {
            let mut state = LeaseState::read(id, value);
            let result = change(&mut state, now);
            let value = state.map_or_else(String::new, |state| state.write(id));
            (value.into_bytes(), result)
        };
        self.change_key(&lease_key(id), change).await
    }

    /// Adds `id` to the list of leases, or removes it.
    async fn list_lease(&self, id: LeaseId, is_listed: bool) -> Result<(), RequestError> {
        let change = |value: &[u8]| {
            let mut leases = lease_names(value);
            leases.retain(|lease| *lease != id);
            leases.extend(is_listed.then_some(id));
            (write_lease_names(&leases), ())
        };
        self.change_key(LEASES, change).await
    }

    async fn renew_lease(&self, lease: Lease) -> Result<Renewal, RequestError> {
        let renewed = self.change_lease(lease.id, |state, now| LeaseState::renew(state, lease, now));
        let until = match renewed.await? {
            Ok(until) => until,
            Err(gone) => return Ok(gone),
        };
        if lease.until == 0 {
            self.list_lease(lease.id, true).await?;
        }
        // The lease is renewed even if the others cannot be read.
        let mut expired = self.expired_leases(lease.id).await.unwrap_or_default();
        // After an outage, other nodes may not have renewed their leases when this connection was opened.
        if self.opened_at.elapsed() < LEASE_LIFETIME {
            expired.clear();
        }
        Ok(Renewal::Renewed { until, expired })
    }

    /// Returns the leases other than `own` that a cleaner may claim. Removes leases that were cleaned long ago.
    async fn expired_leases(&self, own: LeaseId) -> Result<Vec<LeaseId>, RequestError> {
        let (list, _) = self.get_one(LEASES).await?;
        let mut others = lease_names(&list);
        others.retain(|lease| *lease != own);
        let keys: Vec<String> = others.iter().map(|lease| lease_key(*lease)).collect();
        let (found, now) = (self.get(&keys).await, self.server_time().await?);
        let may_be_forgotten =
            |state: &Option<LeaseState>, now| state.is_none_or(|state| state.may_be_forgotten(now));
        let (mut expired, mut forgotten) = (Vec::new(), Vec::new());
        for (id, found) in others.into_iter().zip(found) {
            let state = LeaseState::read(id, &found?.unwrap_or_default().0);
            if may_be_forgotten(&state, now) {
                forgotten.push(id);
            } else if state.is_some_and(|state| state.is_over(now)) {
                expired.push(id);
            }
        }
        for id in forgotten {
            self.change_lease(id, |state, now| {
                if may_be_forgotten(state, now) {
                    *state = None;
                }
            })
            .await?;
            self.list_lease(id, false).await?;
        }
        Ok(expired)
    }

    /// Removes the records that have been empty for long. A record that was changed meanwhile has another number, so it stays.
    async fn remove_empty_records(&self) {
        let due = self.empty.take_due().into_iter();
        // A record that is not removed takes some bytes until it is used again.
        self.requests
            .send(due.map(|sequence| self.bucket.delete(sequence)))
            .await;
    }

    /// Returns some records in the index of `dead`. Removes records that do not name `dead` from the index.
    async fn held_by(&self, dead: LeaseId, most: usize) -> Result<Vec<Held>, RequestError> {
        self.epoch().await?;
        let start = index_key(dead, "");
        let names = self.bucket.keys(&self.requests, &start).await?;
        let mut held = Vec::new();
        for some in names.chunks(most.clamp(1, BATCH)) {
            let keys: Vec<String> = some
                .iter()
                .filter_map(|name| Some(name.strip_prefix(&start)?.to_owned()))
                .collect();
            let mut unheld = Vec::new();
            for (key, found) in keys.iter().zip(self.get(&keys).await) {
                let (value, sequence) = found?.unwrap_or_default();
                match read_key(key) {
                    Some(RecordName::Room(room)) => {
                        let before = held.len();
                        held.extend(Room::read(&value).held_by(dead).map(|member| Held::Member {
                            room: room.clone(),
                            user: member.user.clone(),
                            member: Some(member.clone()),
                        }));
                        if held.len() == before {
                            unheld.push((key, value, sequence));
                        }
                    }
                    Some(RecordName::Slot(slot)) => held.push(Held::Slot(slot)),
                    None => unheld.push((key, value, sequence)),
                }
            }
            // A late write of `dead` expects the change before this one.
            let fences = unheld
                .iter()
                .map(|(key, value, sequence)| self.bucket.put(key, value.clone(), Some(*sequence)));
            let mut removable = Vec::new();
            for ((key, value, _), reply) in unheld.iter().zip(self.requests.send(fences).await) {
                if let Some(sequence) = jetstream::stored_sequence(reply)? {
                    removable.push(index_key(dead, key));
                    if value.is_empty() {
                        self.empty.add(sequence);
                    }
                }
            }
            self.remove(&removable).await?;
            if !held.is_empty() {
                break;
            }
        }
        held.truncate(most);
        Ok(held)
    }
}

fn lease_key(id: LeaseId) -> String {
    format!("l.{id}")
}

/// Returns the announcements in a message that the bucket republished on a room's channel, each with its version; `None` for any other
/// message.
pub(super) fn announcements(message: &ServerMessage) -> Option<Vec<(Bytes, u64)>> {
    // JetStream writes these headers.
    message.header("Nats-Stream")?;
    let sequence = message.header("Nats-Sequence")?.parse().ok()?;
    let Some(epoch) = message.header(EPOCH).and_then(|epoch| epoch.parse().ok()) else {
        // This change has no announcement.
        return Some(Vec::new());
    };
    let texts = message
        .headers(ANNOUNCEMENT)
        .map(|text| Bytes::copy_from_slice(text.as_bytes()));
    Some(
        texts
            .zip(0..)
            .map(|(text, number)| (text, version(epoch, sequence, number)))
            .collect(),
    )
}

/// Returns the version of the announcement of this `number` in the change `sequence`.
fn version(epoch: u64, sequence: u64, number: u64) -> u64 {
    epoch
        .saturating_add(sequence)
        .saturating_mul(VERSIONS)
        .saturating_add(number)
}

fn stored<T: Default>(result: Result<T, RequestError>) -> Stored<T> {
    let mut stored = Stored::<()>::default();
    let value = ok_or_note(&mut stored, result).unwrap_or_default();
    stored.map(|()| value)
}

/// The attempts at a change that other nodes preempt.
struct Attempts {
    first: Instant,
    last: Instant,
    count: u32,
}

impl Default for Attempts {
    fn default() -> Self {
        let now = Instant::now();
        Self {
            first: now,
            last: now,
            count: 0,
        }
    }
}

impl Attempts {
    /// Returns whether the change has been retried for [`PATIENCE`].
    fn are_over(&self) -> bool {
        self.first.elapsed() > PATIENCE
    }

    /// Waits for a random time, at most a multiple of the last attempt's duration. Only one of simultaneous attempts succeeds, so with a fixed
    /// pause a slow server would mostly work in vain.
    async fn pause(&mut self) {
        let part = uuid::Uuid::new_v4().as_u128() % 1024;
        let longest = self.last.elapsed() * (1 << self.count.min(2));
        tokio::time::sleep(longest / 1024 * u32::try_from(part).unwrap_or(0)).await;
        self.count += 1;
        self.last = Instant::now();
    }
}
