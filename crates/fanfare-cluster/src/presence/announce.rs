//! The texts that announce changes of rooms, which the store publishes.

use fanfare_core::{Channel, Member, Presence};

use crate::{Shared, local, transport::presence::AnnouncementText, wire};

/// The text that announces a change in `room`; `None` if there is nothing to announce.
pub(super) fn announcement(
    shared: &Shared,
    change: Presence,
    room: &Channel,
    member: &Member,
    number: u64,
) -> Option<AnnouncementText> {
    let event = local::announcement(&*shared.inbound, change, room, member)?;
    Some(wire::announcement(
        &event,
        &shared.node_id,
        change,
        member,
        number,
    ))
}
