//! Presence and slots, which all nodes share.

use serde::{Deserialize, Serialize};

use crate::{Channel, Identity, RawJson, UserId};

/// The default maximum of members of a room up to which [`Entered`] lists them.
pub const MAX_LISTED_MEMBERS: usize = 10_000;
/// The default maximum of members of a room that a node reads from the broker.
pub const MAX_KNOWN_MEMBERS: usize = 100_000;

/// A user in a room.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Member {
    /// The user.
    pub user: UserId,
    /// The user's display name, if it differs from the id.
    pub username: Option<Box<str>>,
    /// Whether the user's credential writes the id as a number.
    pub numeric: bool,
    /// The dialect of the user's first connection in the room, which renders the announcements.
    pub dialect: Box<str>,
}

impl Member {
    /// Returns the user of `identity`, with a connection of `dialect`.
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

/// A change of a user's presence in a room.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Presence {
    /// The user's first connection has entered the room.
    Joined,
    /// The user's last connection has left the room.
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
    /// The identifier for [`Inbound::entered`](crate::Inbound::entered).
    pub ticket: EntryTicket,
    /// Whether [`Entered`] lists the room's members.
    pub wants_members: bool,
}

/// The identifier of an entry at its node.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct EntryTicket(pub u64);

/// The result of an [`Entry`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entered {
    /// Whether it is the user's first connection in the room on all nodes.
    pub first: bool,
    /// The room's members, including the new one, if the entry requests them and they are not too many. Later announcements
    /// continue from this list, without a gap or a duplicate.
    pub members: Option<Vec<Member>>,
}

/// A user in a room with connections on this node.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Present {
    /// The user.
    pub member: Member,
    /// The number of the user's connections in the room on this node.
    pub connections: u32,
    /// The time of the first entry, in milliseconds since 1970.
    pub since_ms: u64,
}

/// A node's figures about presence since the start.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct PresenceCounts {
    /// Users that this node has stored in rooms at the broker, again after each outage.
    pub entered: u64,
    /// Leases that this node has acquired: one at the start, and one after each loss.
    pub leases: u64,
    /// Leases of dead nodes that this node has cleaned up.
    pub cleaned_leases: u64,
    /// Rooms whose members this node has compared with the broker's after an outage.
    pub compared_rooms: u64,
    /// Slots that were refused because all nodes together hold the maximum.
    pub refused_slots: u64,
    /// Calls that the broker refused, in whole or in part, and that are retried.
    pub refused: u64,
    /// Changes of a room's members that did not fit at the broker, counted at each attempt.
    pub unstored: u64,
    /// Lists of members that were omitted because the room has too many members to list.
    pub lists_left_out: u64,
    /// Lists of members that this node did not read because the room has too many members.
    pub unlisted: u64,
}

/// A resource of which the cluster has a limited number, such as connections of one name.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Slot {
    /// The kind of resource.
    pub scope: SlotScope,
    /// The dialect.
    pub dialect: &'static str,
    /// The connection's name, or the user.
    pub name: Box<str>,
}

/// The kind of resource that a [`Slot`] limits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum SlotScope {
    /// Connections of one name.
    Name,
    /// Connections of one user.
    User,
}
