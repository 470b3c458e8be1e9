//! The counts that all nodes share: the users in each room, and the slots that are taken.

use serde::{Deserialize, Serialize};

use crate::{Channel, Identity, RawJson, UserId};

/// How many members a room may have for [`Entered`] to list them, unless the configuration says otherwise.
pub const MAX_LISTED_MEMBERS: usize = 10_000;
/// The most members of a room, by default, that a node reads from the broker.
pub const MAX_KNOWN_MEMBERS: usize = 100_000;

/// A user in a room, as every node knows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Member {
    /// The user.
    pub user: UserId,
    /// The user's display name, if it differs from the id.
    pub username: Option<Box<str>>,
    /// Whether the user's credential writes the id as a number.
    pub numeric: bool,
    /// The name of the dialect that words the announcements: that of the user's first connection in the room.
    pub dialect: Box<str>,
}

impl Member {
    /// Returns the user of `identity`, connected by the dialect of that name.
    pub fn new(identity: &Identity, dialect: &str) -> Self {
        Self {
            user: identity.user.clone(),
            username: identity.username.clone(),
            numeric: identity.numeric,
            dialect: dialect.into(),
        }
    }

    /// Returns the username, else the id.
    pub fn name(&self) -> &str {
        self.username.as_deref().unwrap_or(&self.user)
    }
}

/// How a user's presence in a room changes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Presence {
    /// With the user's first connection there.
    Joined,
    /// With the user's last connection there.
    Left,
}

/// The server's event in a room about one of its users.
#[derive(Debug, Clone, PartialEq)]
pub struct Announcement {
    /// The event's type.
    pub kind: &'static str,
    /// The event's data.
    pub data: RawJson,
}

/// A connection that enters a room.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// The room.
    pub room: Channel,
    /// The connection's user.
    pub member: Member,
    /// Identifies the entry in [`Inbound::entered`](crate::Inbound::entered).
    pub ticket: EntryTicket,
    /// Whether [`Entered`] lists the room's members.
    pub wants_members: bool,
}

/// Identifies an entry to the node that began it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct EntryTicket(pub u64);

/// The result of an [`Entry`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entered {
    /// It is the user's first connection in the room, on all nodes.
    pub first: bool,
    /// The room's members, including the new one, if the entry requests them and there are not too many. Later
    /// announcements continue from this list without a gap or a repetition.
    pub members: Option<Vec<Member>>,
}

/// A user in a room, as one node counts it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Present {
    /// The user.
    pub member: Member,
    /// The user's connections in the room, on this node.
    pub connections: u32,
    /// When the first of them entered, in milliseconds since 1970.
    pub since_ms: u64,
}

/// A broker's figures about presence since the start.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct PresenceCounts {
    /// Users that this node has entered in rooms at the broker; counted again after each outage.
    pub entered: u64,
    /// Leases that this node has acquired: one at the start, and one each time it was lost.
    pub leases: u64,
    /// Leases of dead nodes that this node has cleaned up after.
    pub cleaned_leases: u64,
    /// Rooms whose members this node has compared with the broker's, after an outage.
    pub compared_rooms: u64,
    /// Slots that were refused because all nodes together hold the maximum.
    pub refused_slots: u64,
    /// Calls that the broker refused in whole or in part, and that will be repeated.
    pub refused: u64,
    /// Changes of a room's members that the broker had no room for; each again when it was tried again.
    pub unstored: u64,
    /// Lists of a room's members that were left out because the room has more than may be listed.
    pub lists_left_out: u64,
    /// Lists of a room's members that this node did not read from the broker because there are too many of them.
    pub unlisted: u64,
}

/// A resource of which the cluster has a limited number, such as connections of one name.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Slot {
    /// The limited resource, with its dialect.
    pub scope: SlotScope,
    /// The dialect.
    pub dialect: &'static str,
    /// The connection's name, or the user.
    pub name: Box<str>,
}

/// The resource that a [`Slot`] limits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum SlotScope {
    /// Connections of one name.
    Name,
    /// Connections of one user.
    User,
}
