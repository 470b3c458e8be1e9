//! The changes of presence, grouped by the records that they change, and what the records are called. Nothing here does I/O.

use std::collections::BTreeMap;

use fanfare_cluster::transport::presence::{AnnouncementText, Applied, Change, LeaseId, SlotName};
use fanfare_core::Channel;

use super::{
    names,
    records::{Places, Room},
};

/// What begins a room's key.
pub(super) const ROOM: &str = "r";

/// A record.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Record {
    Room(Room),
    Slot(Places),
}

/// Changes of one record, and their places among all.
pub(super) struct Group<'a> {
    pub(super) changes: Vec<(usize, &'a Change)>,
    pub(super) is_done: bool,
    /// Whether the lease holds anything in it, once it is done.
    pub(super) is_held: bool,
}

/// What the changes of a record come to.
pub(super) struct Outcome {
    pub(super) record: Record,
    pub(super) results: Vec<Applied>,
    pub(super) announcements: Vec<String>,
    pub(super) is_changed: bool,
}

impl Group<'_> {
    /// What the changes come to if the record is `value` now. Cleaning changes a record even where it holds nothing of the lease,
    /// so that a late write of that lease expects another change.
    pub(super) fn outcome(&self, lease: LeaseId, value: &[u8], is_cleaning: bool) -> Outcome {
        let mut announcements = Vec::new();
        let mut results = Vec::with_capacity(self.changes.len());
        let is_slot = self
            .changes
            .iter()
            .any(|(_, change)| matches!(change, Change::Slot { .. }));
        let record = if is_slot {
            let mut places = Places::read(value);
            for (_, change) in &self.changes {
                if let Change::Slot { count, most, .. } = change {
                    let granted = places.set(lease, *count, *most);
                    results.push(Applied::Slot { granted });
                }
            }
            Record::Slot(places)
        } else {
            let mut room = Room::read(value);
            for (_, change) in &self.changes {
                let (transition, announcement) = change_room(&mut room, lease, change);
                if transition {
                    announcements.extend(announcement.map(header));
                }
                // As it is between this change and the next one of the same message.
                let wants_list = matches!(change, Change::Enter { list: true, .. });
                results.push(Applied::Room {
                    transition,
                    members: wants_list.then(|| room.members(announcements.len() as u64)),
                });
            }
            Record::Room(room)
        };
        let is_changed = is_cleaning || !announcements.is_empty() || record.write() != value;
        Outcome {
            record,
            results,
            announcements,
            is_changed,
        }
    }

    /// The changes are done, in the record as it is now: notes their results. The versions of lists count from `before`, the one
    /// before these changes.
    pub(super) fn finish(
        &mut self,
        lease: LeaseId,
        results: Vec<Applied>,
        record: &Record,
        before: u64,
        all: &mut [Option<Applied>],
    ) {
        self.is_done = true;
        self.is_held = record.is_held_by(lease);
        for ((at, _), mut result) in self.changes.iter().zip(results) {
            if let Applied::Room {
                members: Some(members),
                ..
            } = &mut result
            {
                members.version += before;
            }
            all[*at] = Some(result);
        }
    }

    /// The lease's term is over before the changes were made.
    pub(super) fn fence(&mut self, all: &mut [Option<Applied>]) {
        self.is_done = true;
        for (at, _) in &self.changes {
            all[*at] = Some(Applied::Fenced);
        }
    }
}

impl Record {
    pub(super) fn write(&self) -> Vec<u8> {
        match self {
            Self::Room(room) => room.write(),
            Self::Slot(places) => places.write(),
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        match self {
            Self::Room(room) => room.is_empty(),
            Self::Slot(places) => places.is_empty(),
        }
    }

    pub(super) fn is_held_by(&self, lease: LeaseId) -> bool {
        match self {
            Self::Room(room) => room.held_by(lease).next().is_some(),
            Self::Slot(places) => places.is_held_by(lease),
        }
    }
}

/// Changes who is in `room`. Returns whether it was a transition, and what announces it then.
fn change_room<'a>(
    room: &mut Room,
    lease: LeaseId,
    change: &'a Change,
) -> (bool, Option<&'a AnnouncementText>) {
    match change {
        Change::Enter {
            member,
            since_ms,
            announcement,
            ..
        } => (room.enter(lease, member, *since_ms), announcement.as_ref()),
        Change::Leave {
            user,
            announcement,
            even_if_unheld,
            ..
        } => (room.leave(lease, user, *even_if_unheld), announcement.as_ref()),
        Change::Slot { .. } => (false, None),
    }
}

/// `announcement` as the value of a header; its version is known by where it stands.
fn header(announcement: &AnnouncementText) -> String {
    let text = [&*announcement.head, b"0", &*announcement.tail].concat();
    // In JSON a line break can only stand where a space can.
    String::from_utf8_lossy(&text).replace(['\r', '\n'], " ")
}

/// The changes of each record, in order.
pub(super) fn groups(changes: &[Change]) -> BTreeMap<String, Group<'_>> {
    let mut groups = BTreeMap::new();
    for (at, change) in changes.iter().enumerate() {
        let group = groups.entry(key(change)).or_insert_with(|| Group {
            changes: Vec::new(),
            is_done: false,
            is_held: true,
        });
        group.changes.push((at, change));
    }
    groups
}

/// Whether a lease holds something by `change`.
pub(super) fn takes(change: &Change) -> bool {
    match change {
        Change::Enter { .. } => true,
        Change::Leave { .. } => false,
        Change::Slot { count, .. } => *count > 0,
    }
}

// Keys.

/// What a record is about.
pub(super) enum Name {
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

pub(super) fn read_key(key: &str) -> Option<Name> {
    let (kind, name) = key.split_once('.')?;
    let name = names::decode(name)?;
    match kind {
        ROOM => Channel::new(&name).ok().map(Name::Room),
        "s" => Some(Name::Slot(SlotName::new(&name))),
        _ => None,
    }
}

/// The index entry of `lease` for the record `key`.
pub(super) fn index_key(lease: LeaseId, key: &str) -> String {
    format!("x.{lease}.{key}")
}
