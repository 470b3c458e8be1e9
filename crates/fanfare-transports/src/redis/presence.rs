//! Presence in Redis: a hash for each room and each slot, a set for what each lease holds, and one hash of all leases.

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
    Connection, bytes,
    scripts::{self, Calls},
    text,
};

/// Changes in one pipeline: events travel between two of them.
const CHANGES: usize = 256;

impl PresenceStore for Connection {
    fn renew(&self, lease: Lease) -> BoxFuture<'_, Stored<Option<Renewal>>> {
        Box::pin(async move {
            let mut call = scripts::RENEW.of(&self.names.leases());
            call.arg(lease.id.to_string()).arg(lease.until);
            call.arg(millis(LEASE_LIFETIME)).arg(millis(CLEANED_MEMORY));
            let answers = self.carry_out(vec![call]).await;
            answers.map(|answers| answers.first().and_then(|answer| renewal(answer, lease.id)))
        })
    }

    fn apply<'a>(
        &'a self,
        lease: LeaseId,
        until: Option<u64>,
        changes: &'a [Change],
    ) -> BoxFuture<'a, Stored<Vec<Option<Applied>>>> {
        Box::pin(self.change(lease, until, changes))
    }

    fn members<'a>(&'a self, rooms: &'a [Channel]) -> BoxFuture<'a, Stored<Vec<Option<RoomMembers>>>> {
        Box::pin(async move {
            let mut calls = Calls::default();
            for room in rooms {
                let call = calls.call(&scripts::LIST, &self.names.room(room));
                call.arg(self.max_known_members);
            }
            let answers = self.carry_out(calls.commands).await;
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
            let mut call = scripts::CLAIM_CLEANING.of(&self.names.leases());
            call.arg(dead.to_string()).arg(cleaner.to_string());
            call.arg(millis(CLAIM_LIFETIME));
            let answers = self.carry_out(vec![call]).await;
            answers.map(|answers| answers == [Value::Int(1)])
        })
    }

    fn held(&self, dead: LeaseId, most: usize) -> BoxFuture<'_, Stored<Vec<Held>>> {
        Box::pin(self.named_by_index(dead, most))
    }

    fn forget(&self, id: LeaseId, cleaned: bool) -> BoxFuture<'_, Stored<()>> {
        Box::pin(async move {
            let leases = self.names.leases();
            let mut call = if cleaned {
                scripts::CLEANED.of(&leases)
            } else {
                redis::cmd("HDEL").arg(leases).to_owned()
            };
            call.arg(id.to_string());
            self.carry_out(vec![call]).await.map(drop)
        })
    }

    fn expire(&self, id: LeaseId) -> BoxFuture<'_, Stored<()>> {
        Box::pin(async move {
            let mut call = scripts::EXPIRE.of(&self.names.leases());
            call.arg(id.to_string());
            self.carry_out(vec![call]).await.map(drop)
        })
    }
}

impl Connection {
    /// Applies `changes` for `lease` in batches, until the end of its term.
    async fn change(
        &self,
        lease: LeaseId,
        until: Option<u64>,
        changes: &[Change],
    ) -> Stored<Vec<Option<Applied>>> {
        let term = until.map_or_else(String::new, |until| until.to_string());
        let mut all = Stored::<Vec<Option<Applied>>>::default();
        for some in changes.chunks(CHANGES) {
            let applied = self.change_some(lease, &term, some).await;
            all.refused = applied.refused.or(all.refused);
            all.value.extend(applied.value);
            if applied.lost {
                all.lost = true;
                break;
            }
        }
        all
    }

    /// Adds records to the lease's index, changes them, and removes from the index those that the lease no longer holds.
    async fn change_some(
        &self,
        lease: LeaseId,
        term: &str,
        changes: &[Change],
    ) -> Stored<Vec<Option<Applied>>> {
        let (index, id) = (self.names.index(lease), lease.to_string());
        let mut calls = Calls::default();
        let taken: Vec<String> = changes
            .iter()
            .filter(|change| change.takes())
            .map(entry)
            .collect();
        if !taken.is_empty() {
            calls.call(&scripts::INDEX, &index).arg(term).arg(&taken);
        }
        let first = calls.commands.len();
        for change in changes {
            self.record(&mut calls, term, &id, change);
        }
        let answers = self.carry_out(calls.commands).await;
        if answers.lost {
            return answers.map(|_| Vec::new());
        }
        // If Redis refused the index, it may name too little. The records name the lease all the same, and the next cleaning of the node's
        // own lease removes them.
        let mut applied = answers.map(|answers| {
            let answers = answers.iter().skip(first).zip(changes);
            answers
                .map(|(answer, change)| applied(answer, change))
                .collect::<Vec<_>>()
        });
        let released = released(changes, &applied.value);
        if !released.is_empty() {
            let srem = redis::cmd("SREM").arg(&index).arg(&released).to_owned();
            let removed = self.carry_out(vec![srem]).await;
            applied.refused = removed.refused.or(applied.refused);
            applied.lost |= removed.lost;
        }
        applied
    }

    /// Adds to `calls` the call that carries out `change`.
    fn record(&self, calls: &mut Calls, term: &str, lease: &str, change: &Change) {
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
                let call = calls.call(&scripts::SLOT, &self.names.slot(slot));
                call.arg(term).arg(lease).arg(count).arg(most);
                return;
            }
        };
        let call = calls.call(&scripts::ROOM, &self.names.room(room));
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

    async fn named_by_index(&self, dead: LeaseId, most: usize) -> Stored<Vec<Held>> {
        let index = self.names.index(dead);
        let named = redis::cmd("SRANDMEMBER").arg(&index).arg(most).to_owned();
        let named = self.carry_out(vec![named]).await;
        let entries = match named.value.first() {
            Some(Value::Array(entries) | Value::Set(entries)) => entries.iter().filter_map(bytes).collect(),
            _ => Vec::new(),
        };
        let (known, foreign): (Vec<_>, Vec<_>) = entries
            .into_iter()
            .map(|entry| (entry, named_by(entry)))
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
        let answers = self.carry_out(commands).await;
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
            let mut parts = parts.iter().map(text);
            let until = parts.next()??.parse().ok()?;
            let expired = parts.filter_map(|lease| lease?.parse().ok());
            Some(Renewal::Renewed {
                until,
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

/// Reads a room's version, and its hash, or 0 if that is too large.
fn members(parts: &[Value]) -> Option<RoomMembers> {
    let [version, list] = parts else {
        return None;
    };
    let version = text(version)?.parse().ok()?;
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
        let user = UserId::new(text(&field[0])?).ok()?;
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

/// Returns the leases in a record of `user`, and how each describes the user.
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

/// Returns the index entries of the records that the lease does not hold after `changes`.
fn released(changes: &[Change], applied: &[Option<Applied>]) -> Vec<String> {
    let mut last = HashMap::new();
    for (change, applied) in changes.iter().zip(applied) {
        let is_released = match applied {
            Some(Applied::Room { .. }) => !change.takes(),
            // A lease whose only place was refused holds nothing either.
            Some(Applied::Slot { granted }) => match change {
                Change::Slot { count, .. } => (*count == 0) == *granted && *count < 2,
                _ => false,
            },
            // Whether the lease holds the record is unknown or unchanged.
            Some(Applied::Fenced | Applied::Full { .. }) | None => false,
        };
        last.insert(entry(change), is_released);
    }
    last.into_iter()
        .filter_map(|(entry, is_released)| is_released.then_some(entry))
        .collect()
}

// The entries of an index: `m`, the room and the user, or `s` and the slot, on lines of their own. Names have no line breaks.

fn entry(change: &Change) -> String {
    match change {
        Change::Enter { room, member, .. } => format!("m\n{room}\n{}", member.user),
        Change::Leave { room, user, .. } => format!("m\n{room}\n{user}"),
        Change::Slot { slot, .. } => format!("s\n{slot}"),
    }
}

fn named_by(entry: &[u8]) -> Option<Held> {
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
