//! The changes of presence, grouped by record, and the keys of records. Nothing here does I/O.

use std::collections::BTreeMap;

use fanfare_cluster::transport::presence::{AnnouncementText, Applied, Change, LeaseId, SlotName};
use fanfare_core::Channel;

use super::{
    names,
    records::{Places, Room},
};

/// The limit of all announcements in one message, in bytes: JetStream's limit for headers, less the other headers.
const MAX_HEADER_BYTES: usize = 65_535 - OTHER_HEADER_BYTES;
/// The bytes reserved for headers that are not announcements.
const OTHER_HEADER_BYTES: usize = 512;
/// The versions of one message. The last one belongs to lists of the record as the message left it.
pub(super) const VERSIONS: u64 = 1024;

/// The header with an announcement.
pub(super) const ANNOUNCEMENT: &str = "Fanfare-Announcement";
/// The first token of a room's key.
pub(super) const ROOM: &str = "r";

/// The open changes of one record, each with its index among all changes.
pub(super) struct RecordChanges<'a> {
    pub(super) changes: Vec<(usize, &'a Change)>,
    pub(super) is_done: bool,
    /// The lease may hold something in the record.
    pub(super) is_held: bool,
}

/// The record after its first changes: as many as fit in one message.
pub(super) struct RecordUpdate {
    pub(super) value: Vec<u8>,
    /// The lease holds something in the record.
    is_held: bool,
    results: Vec<Applied>,
    pub(super) announcements: Vec<String>,
    pub(super) is_changed: bool,
}

impl RecordChanges<'_> {
    /// Applies the changes to the record `value`, in a message of at most `limit` bytes. Cleaning changes a record even if the lease holds
    /// nothing in it, so that a late write of that lease fails.
    pub(super) fn update(
        &self,
        lease: LeaseId,
        value: &[u8],
        is_cleaning: bool,
        limit: usize,
    ) -> RecordUpdate {
        let mut announcements = Vec::new();
        let mut results = Vec::with_capacity(self.changes.len());
        let is_slot = self
            .changes
            .iter()
            .any(|(_, change)| matches!(change, Change::Slot { .. }));
        let (written, is_held) = if is_slot {
            let mut places = Places::read(value);
            for (_, change) in &self.changes {
                if let Change::Slot { count, most, .. } = change {
                    let granted = places.set(lease, *count, *most);
                    results.push(Applied::Slot { granted });
                }
            }
            (places.write(), places.is_held_by(lease))
        } else {
            let mut room = Room::read(value);
            let mut size = room.write().len();
            let mut headers = 0;
            let limit = limit.saturating_sub(OTHER_HEADER_BYTES);
            for (_, change) in &self.changes {
                let text = announcement_of(change).map(header);
                let more = text
                    .as_ref()
                    .map_or(0, |text| ANNOUNCEMENT.len() + 4 + text.len());
                let changed = size_after(&room, size, lease, change);
                let fits = changed + more <= limit;
                let is_full = changed + headers + more > limit
                    || headers + more > MAX_HEADER_BYTES
                    || announcements.len() as u64 == VERSIONS - 1;
                if fits && is_full {
                    // The change fits in the next message.
                    break;
                }
                let transition = fits && change_room(&mut room, lease, change);
                if transition {
                    announcements.extend(text);
                    headers += more;
                }
                // The list contains this change, and not the next one of the same message.
                let wants_list = matches!(change, Change::Enter { list: true, .. });
                let members = wants_list.then(|| room.members(announcements.len() as u64));
                results.push(if fits {
                    size = changed;
                    Applied::Room { transition, members }
                } else {
                    let reason =
                        format!("a room's members take more than max_payload of the NATS server, {limit}");
                    Applied::Full { reason, members }
                });
            }
            (room.write(), room.held_by(lease).next().is_some())
        };
        let is_changed = is_cleaning || !announcements.is_empty() || written != value;
        RecordUpdate {
            value: written,
            is_held,
            results,
            announcements,
            is_changed,
        }
    }

    /// Notes the results of `update`, which is stored. The versions of lists count from `before`, the version before the update.
    pub(super) fn finish(&mut self, update: RecordUpdate, before: u64, all: &mut [Option<Applied>]) {
        self.is_held = update.is_held;
        let done = self.changes.drain(..update.results.len());
        for ((at, _), mut result) in done.zip(update.results) {
            if let Applied::Room {
                members: Some(members),
                ..
            }
            | Applied::Full {
                members: Some(members),
                ..
            } = &mut result
            {
                members.version += before;
            }
            all[at] = Some(result);
        }
        self.is_done = self.changes.is_empty();
    }

    /// Notes that the result of the changes is unknown: the lease may hold something.
    pub(super) fn give_up(&mut self) {
        self.is_done = true;
        self.is_held = true;
    }

    /// Notes that the changes are not applied: the lease's term is over, or other nodes preempted them.
    pub(super) fn fence(&mut self, all: &mut [Option<Applied>]) {
        self.is_done = true;
        for (at, _) in &self.changes {
            all[*at] = Some(Applied::Fenced);
        }
    }
}

/// Changes the members of `room`. Returns whether it was a transition.
fn change_room(room: &mut Room, lease: LeaseId, change: &Change) -> bool {
    match change {
        Change::Enter { member, since_ms, .. } => room.enter(lease, member, *since_ms),
        Change::Leave {
            user, even_if_unheld, ..
        } => room.leave(lease, user, *even_if_unheld),
        Change::Slot { .. } => false,
    }
}

/// Returns the size of `room` after `change`, from the `size` before it.
fn size_after(room: &Room, size: usize, lease: LeaseId, change: &Change) -> usize {
    match change {
        Change::Enter { member, since_ms, .. } if room.size_of(lease, &member.user) == 0 => {
            size + Room::line(lease, *since_ms, member).len()
        }
        Change::Leave { user, .. } => size - room.size_of(lease, user),
        Change::Enter { .. } | Change::Slot { .. } => size,
    }
}

/// Returns the announcement to publish if `change` is a transition.
fn announcement_of(change: &Change) -> Option<&AnnouncementText> {
    match change {
        Change::Enter { announcement, .. } | Change::Leave { announcement, .. } => announcement.as_ref(),
        Change::Slot { .. } => None,
    }
}

/// Returns `announcement` as the value of a header. The version follows from its position among the headers.
fn header(announcement: &AnnouncementText) -> String {
    let text = [&*announcement.head, b"0", &*announcement.tail].concat();
    // In JSON, a space can replace any line break.
    String::from_utf8_lossy(&text).replace(['\r', '\n'], " ")
}

/// Groups `changes` by the keys of their records, in order.
pub(super) fn by_record(changes: &[Change]) -> BTreeMap<String, RecordChanges<'_>> {
    let mut records = BTreeMap::new();
    for (at, change) in changes.iter().enumerate() {
        let record = records.entry(key(change)).or_insert_with(|| RecordChanges {
            changes: Vec::new(),
            is_done: false,
            is_held: true,
        });
        record.changes.push((at, change));
    }
    records
}

// Keys.

/// The room or the slot of a record.
pub(super) enum RecordName {
    Room(Channel),
    Slot(SlotName),
}

fn key(change: &Change) -> String {
    match change {
        Change::Enter { room, .. } | Change::Leave { room, .. } => room_key(room),
        Change::Slot { slot, .. } => {
            let mut key = "s.".to_owned();
            names::encode(&slot.to_string(), "", &mut key);
            key
        }
    }
}

pub(super) fn room_key(room: &Channel) -> String {
    let mut key = format!("{ROOM}.");
    names::encode(room, ".", &mut key);
    key
}

pub(super) fn read_key(key: &str) -> Option<RecordName> {
    let (kind, name) = key.split_once('.')?;
    let name = names::decode(name)?;
    match kind {
        ROOM => Channel::new(&name).ok().map(RecordName::Room),
        "s" => Some(RecordName::Slot(SlotName::new(&name))),
        _ => None,
    }
}

/// Returns the index entry of `lease` for the record `key`.
pub(super) fn index_key(lease: LeaseId, key: &str) -> String {
    format!("x.{lease}.{key}")
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use fanfare_core::{Member, UserId};

    use super::*;

    const LEASE: LeaseId = LeaseId(1);

    fn enter(user: &str, announcement: usize) -> Change {
        Change::Enter {
            room: Channel::new("project:1").unwrap(),
            member: Member {
                user: UserId::new(user).unwrap(),
                username: None,
                numeric: false,
                dialect: "rooms".into(),
            },
            since_ms: 1,
            announcement: Some(AnnouncementText {
                head: vec![b'h'; announcement].into(),
                tail: "t".into(),
            }),
            list: true,
        }
    }

    fn leave(user: &str) -> Change {
        Change::Leave {
            room: Channel::new("project:1").unwrap(),
            user: UserId::new(user).unwrap(),
            announcement: None,
            even_if_unheld: false,
        }
    }

    /// Applies `changes` to `record`. Returns the number of messages, and a letter for each change: `+` for a transition, `-` for none, `f` if
    /// the record is full.
    fn applied(changes: &[Change], record: &mut Vec<u8>, limit: usize) -> (usize, String) {
        let (_, mut changes_left) = by_record(changes).pop_first().unwrap();
        let mut all = vec![None; changes.len()];
        let mut messages = 0;
        while !changes_left.is_done {
            let update = changes_left.update(LEASE, record, false, limit);
            record.clone_from(&update.value);
            let headers = update.announcements.iter().map(String::len).sum::<usize>();
            assert!(record.len() + headers <= limit && headers <= MAX_HEADER_BYTES);
            messages += usize::from(update.is_changed);
            changes_left.finish(update, 10, &mut all);
        }
        let letters = all.into_iter().map(|applied| match applied.unwrap() {
            Applied::Room { transition, .. } => {
                if transition {
                    '+'
                } else {
                    '-'
                }
            }
            Applied::Full { members, .. } => {
                assert!(members.is_none_or(|members| members.version >= 10));
                'f'
            }
            _ => '?',
        });
        (messages, letters.collect())
    }

    #[test]
    fn a_message_limits_the_members_of_a_room() {
        let mut record = Vec::new();
        assert_eq!(
            applied(&[enter("a1", 9)], &mut record, 10_000),
            (1, "+".to_owned())
        );
        let line = record.len();
        // The limit allows three lines, and the announcement of one member.
        let limit = OTHER_HEADER_BYTES + 3 * line + ANNOUNCEMENT.len() + 4 + 9 + 2;
        record.clear();
        let changes = ["a1", "a2", "a2", "a3", "a4", "a5"].map(|user| enter(user, 9));
        assert_eq!(applied(&changes, &mut record, limit).1, "++-+ff");
        assert_eq!(
            applied(&[enter("a4", 9)], &mut record, limit),
            (0, "f".to_owned())
        );
        let changes = [enter("a2", 9), leave("a1"), enter("a5", 9), enter("a6", 9)];
        assert_eq!(applied(&changes, &mut record, limit).1, "-++f");
        let users = Room::read(&record).members(0).members;
        let users: Vec<_> = users.iter().map(|held| &*held.member.user).collect();
        assert_eq!(users, ["a2", "a3", "a5"]);
        // The server's limit was lowered.
        let before = record.clone();
        assert_eq!(
            applied(&[leave("a2")], &mut record, OTHER_HEADER_BYTES + line).1,
            "f"
        );
        assert_eq!(record, before);
    }

    #[test]
    fn announcements_are_spread_over_messages() {
        let changes: Vec<Change> = (0..CHANGES)
            .map(|number| enter(&format!("user-{number}"), 400))
            .collect();
        let (messages, letters) = applied(&changes, &mut Vec::new(), 1 << 20);
        assert_eq!(letters, "+".repeat(CHANGES));
        assert_eq!(messages, 2, "JetStream takes 64 KiB of headers in one");
        let (messages, letters) = applied(&changes, &mut Vec::new(), 10_000);
        assert!(messages > 5, "{messages}");
        assert!(letters.ends_with("ffff"), "{letters}");
    }

    /// The number of changes in one call.
    const CHANGES: usize = 256;
}
