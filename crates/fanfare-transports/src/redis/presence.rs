//! Presence in Redis: a hash for each room and each slot, a set for the index of each lease, and one hash of all leases.

use std::collections::HashMap;

use fanfare_cluster::{
    transport::{
        PresenceStore, Stored, Subject,
        presence::{
            Applied, CLAIM_LIFETIME, CLEANED_MEMORY, Change, Held, HeldMember, LEASE_LIFETIME, Lease,
            LeaseId, Renewal, RoomMembers, SlotName,
        },
    },
    wire,
};
use fanfare_core::{Audience, BoxFuture, Channel, Member, UserId, millis};
use redis::Value;

use super::{
    Connection, bytes, read,
    scripts::{self, ScriptCalls},
};

impl PresenceStore for Connection {
    fn renew(&self, lease: Lease) -> BoxFuture<'_, Stored<Option<Renewal>>> {
        Box::pin(async move {
            let mut call = scripts::RENEW.call_for(&self.names.leases());
            call.arg(lease.id.to_string()).arg(lease.until);
            call.arg(millis(LEASE_LIFETIME)).arg(millis(CLEANED_MEMORY));
            let answers = self.execute(vec![call]).await;
            answers.map(|answers| answers.first().and_then(|answer| renewal(answer, lease.id)))
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
            let mut calls = ScriptCalls::default();
            for room in rooms {
                let call = calls.add(&scripts::LIST, &self.names.room(room));
                call.arg(self.max_known_members);
            }
            let answers = self.execute(calls.commands).await;
            answers.map(|answers| {
                let listed = answers.iter().map(|answer| match answer {
                    Value::Array(parts) => members(parts.get(1..)?),
                    _ => None,
                });
                listed.collect()
            })
        })
    }

    fn claim_cleaning(&self, dead: LeaseId, cleaner: LeaseId) -> BoxFuture<'_, Stored<bool>> {
        Box::pin(async move {
            let mut call = scripts::CLAIM_CLEANING.call_for(&self.names.leases());
            call.arg(dead.to_string()).arg(cleaner.to_string());
            call.arg(millis(CLAIM_LIFETIME));
            let answers = self.execute(vec![call]).await;
            answers.map(|answers| answers == [Value::Int(1)])
        })
    }

    fn held(&self, dead: LeaseId, most: usize) -> BoxFuture<'_, Stored<Vec<Held>>> {
        Box::pin(self.indexed(dead, most))
    }

    fn forget(&self, id: LeaseId, cleaned: bool) -> BoxFuture<'_, Stored<()>> {
        Box::pin(async move {
            let leases = self.names.leases();
            let mut call = if cleaned {
                scripts::CLEANED.call_for(&leases)
            } else {
                redis::cmd("HDEL").arg(leases).to_owned()
            };
            call.arg(id.to_string());
            self.execute(vec![call]).await.map(drop)
        })
    }

    fn expire(&self, id: LeaseId) -> BoxFuture<'_, Stored<()>> {
        Box::pin(async move {
            let mut call = scripts::EXPIRE.call_for(&self.names.leases());
            call.arg(id.to_string());
            self.execute(vec![call]).await.map(drop)
        })
    }
}

impl Connection {
    /// Adds records to the lease's index, changes them until the end of its term, and removes from the index the records that the lease no
    /// longer holds.
    async fn apply_changes(
        &self,
        lease: LeaseId,
        until: Option<u64>,
        changes: &[Change],
    ) -> Stored<Vec<Option<Applied>>> {
        let (index, id) = (self.names.index(lease), lease.to_string());
        let term = until.map_or_else(String::new, |until| until.to_string());
        let mut calls = ScriptCalls::default();
        let taken: Vec<String> = changes
            .iter()
            .filter(|change| change.takes())
            .map(entry)
            .collect();
        if !taken.is_empty() {
            calls.add(&scripts::INDEX, &index).arg(&term).arg(&taken);
        }
        let first = calls.commands.len();
        for change in changes {
            self.add_change(&mut calls, &term, &id, change);
        }
        let answers = self.execute(calls.commands).await;
        // If Redis refused the index, the index may lack records. The records still name the lease, and the next cleaning of the node's own
        // lease removes them.
        let mut applied = answers.map(|answers| {
            let answers = answers.iter().skip(first).zip(changes);
            answers
                .map(|(answer, change)| applied(answer, change))
                .collect::<Vec<_>>()
        });
        let released = released(changes, &applied.value);
        if !released.is_empty() {
            let srem = redis::cmd("SREM").arg(&index).arg(&released).to_owned();
            let removed = self.execute(vec![srem]).await;
            applied.refused = removed.refused.or(applied.refused);
            applied.lost |= removed.lost;
        }
        applied
    }

    /// Adds the call that makes `change` to `calls`.
    fn add_change(&self, calls: &mut ScriptCalls, term: &str, lease: &str, change: &Change) {
        let mut most = String::new();
        let (room, user, what, described, announcement) = match change {
            Change::Enter {
                room,
                member,
                since_ms,
                announcement,
                list,
            } => {
                if *list {
                    most = self.max_known_members.to_string();
                }
                let described = format!("{since_ms} {}", wire::write_member(member));
                (room, &member.user, "enter", described, announcement)
            }
            Change::Leave {
                room,
                user,
                announcement,
                even_if_unheld,
            } => {
                let what = if *even_if_unheld { "lost" } else { "leave" };
                (room, user, what, String::new(), announcement)
            }
            Change::Slot { slot, count, most } => {
                let most = most.map_or_else(String::new, |most| most.to_string());
                let call = calls.add(&scripts::SLOT, &self.names.slot(slot));
                call.arg(term).arg(lease).arg(count).arg(most);
                return;
            }
        };
        let call = calls.add(&scripts::ROOM, &self.names.room(room));
        call.arg(term).arg(lease).arg(&**user);
        call.arg(what).arg(described).arg(most);
        if let Some(text) = announcement {
            let channel = Subject::Audience(Audience::Channel(room.clone()));
            call.arg(self.names.channel(&channel));
            call.arg(&*text.head).arg(&*text.tail);
        } else {
            call.arg("");
        }
    }

    /// Returns at most `most` records that the index of `dead` names. Removes entries that no node wrote from the index.
    async fn indexed(&self, dead: LeaseId, most: usize) -> Stored<Vec<Held>> {
        let index = self.names.index(dead);
        let named = redis::cmd("SRANDMEMBER").arg(&index).arg(most).to_owned();
        let named = self.execute(vec![named]).await;
        let entries = match named.value.first() {
            Some(Value::Array(entries) | Value::Set(entries)) => entries.iter().filter_map(bytes).collect(),
            _ => Vec::new(),
        };
        let (known, foreign): (Vec<_>, Vec<_>) = entries
            .into_iter()
            .map(|entry| (entry, read_entry(entry)))
            .partition(|(_, named)| named.is_some());
        let mut held: Vec<Held> = known.into_iter().filter_map(|(_, named)| named).collect();
        let mut commands: Vec<_> = held
            .iter()
            .filter_map(|held| match held {
                Held::Member { room, user, .. } => Some(
                    redis::cmd("HGET")
                        .arg(self.names.room(room))
                        .arg(&**user)
                        .to_owned(),
                ),
                Held::Slot(_) => None,
            })
            .collect();
        let records = commands.len();
        if !foreign.is_empty() {
            let entries: Vec<&[u8]> = foreign.iter().map(|(entry, _)| *entry).collect();
            commands.push(redis::cmd("SREM").arg(&index).arg(entries).to_owned());
        }
        let answers = self.execute(commands).await;
        let id = dead.to_string();
        let mut records = answers.value.iter().take(records);
        for held in &mut held {
            if let Held::Member { user, member, .. } = held {
                let record = records.next().and_then(bytes).unwrap_or_default();
                *member = holders(user, record)
                    .find(|(lease, _)| *lease == id)
                    .map(|(_, member)| member);
            }
        }
        Stored {
            value: held,
            refused: answers.refused.or(named.refused),
            lost: named.lost || answers.lost,
        }
    }
}

fn renewal(answer: &Value, own: LeaseId) -> Option<Renewal> {
    match answer {
        Value::Int(0) => Some(Renewal::Gone { cleaned: false }),
        Value::Int(-1) => Some(Renewal::Gone { cleaned: true }),
        Value::Array(parts) => {
            let (until, expired) = parts.split_first()?;
            let expired = expired
                .iter()
                .filter_map(|lease| read::<String>(lease)?.parse().ok());
            Some(Renewal::Renewed {
                until: read(until)?,
                expired: expired.filter(|lease| *lease != own).collect(),
            })
        }
        _ => None,
    }
}

fn applied(answer: &Value, change: &Change) -> Option<Applied> {
    match (answer, change) {
        (Value::Int(-1), _) => Some(Applied::Fenced),
        (Value::Int(granted), Change::Slot { .. }) => Some(Applied::Slot {
            granted: *granted == 1,
        }),
        (Value::Int(transition), _) => Some(Applied::Room {
            transition: *transition == 1,
            members: None,
        }),
        (Value::Array(parts), Change::Enter { .. }) => Some(Applied::Room {
            transition: parts.first() == Some(&Value::Int(1)),
            members: Some(members(parts.get(1..)?)?),
        }),
        _ => None,
    }
}

/// Reads a room's version and hash; 0 stands for a hash that is too large.
fn members(parts: &[Value]) -> Option<RoomMembers> {
    let [version, list] = parts else {
        return None;
    };
    let version = read(version)?;
    let fields = match list {
        Value::Array(fields) => fields,
        Value::Int(0) => {
            return Some(RoomMembers {
                version,
                members: Vec::new(),
                too_many: true,
            });
        }
        _ => return None,
    };
    let members = fields.chunks_exact(2).filter_map(|field| {
        let user = UserId::new(&read::<String>(&field[0])?).ok()?;
        let holders: Vec<_> = holders(&user, bytes(&field[1])?).collect();
        Some(HeldMember {
            member: holders.first()?.1.clone(),
            leases: holders
                .iter()
                .filter_map(|(lease, _)| lease.parse().ok())
                .collect(),
            version,
        })
    });
    Some(RoomMembers {
        version,
        members: members.collect(),
        too_many: false,
    })
}

/// Returns the leases in a record of `user`, each with its description of the user.
fn holders<'a>(user: &UserId, record: &'a [u8]) -> impl Iterator<Item = (&'a str, Member)> {
    let lines = record.split(|byte| *byte == b'\n');
    lines.filter_map(move |line| {
        let mut parts = std::str::from_utf8(line).ok()?.splitn(3, ' ');
        let (lease, since, member) = (parts.next()?, parts.next()?, parts.next()?);
        lease.parse::<LeaseId>().ok()?;
        since.parse::<u64>().ok()?;
        Some((lease, wire::read_member(user, member)?))
    })
}

/// Returns the index entries of the records that the lease no longer holds after `changes`.
fn released(changes: &[Change], applied: &[Option<Applied>]) -> Vec<String> {
    let mut last = HashMap::new();
    for (change, applied) in changes.iter().zip(applied) {
        let is_released = match applied {
            Some(Applied::Room { .. }) => !change.takes(),
            // A lease whose only place was refused holds nothing, too.
            Some(Applied::Slot { granted }) => match change {
                Change::Slot { count, .. } => (*count == 0) == *granted && *count < 2,
                _ => false,
            },
            // The lease may hold the record.
            Some(Applied::Fenced | Applied::Full { .. }) | None => false,
        };
        last.insert(entry(change), is_released);
    }
    last.into_iter()
        .filter_map(|(entry, is_released)| is_released.then_some(entry))
        .collect()
}

/// Returns the index entry of the record that `change` changes: `m`, the room and the user, or `s` and the slot, a line each.
fn entry(change: &Change) -> String {
    match change {
        Change::Enter { room, member, .. } => format!("m\n{room}\n{}", member.user),
        Change::Leave { room, user, .. } => format!("m\n{room}\n{user}"),
        Change::Slot { slot, .. } => format!("s\n{slot}"),
    }
}

fn read_entry(entry: &[u8]) -> Option<Held> {
    let (kind, name) = std::str::from_utf8(entry).ok()?.split_once('\n')?;
    match kind {
        "m" => {
            let (room, user) = name.split_once('\n')?;
            Some(Held::Member {
                room: Channel::new(room).ok()?,
                user: UserId::new(user).ok()?,
                member: None,
            })
        }
        "s" => Some(Held::Slot(SlotName::new(name))),
        _ => None,
    }
}
