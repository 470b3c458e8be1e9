//! `/api/v1/channels`: lists the channels with exact subscriptions, and the members of a room, over all nodes.

use std::time::Duration;

use fanfare_core::Channel;
use fanfare_engine::RoomMember;
use serde::Serialize;
use utoipa::ToSchema;

use super::{
    Always, ApiFailure, Reply, RouteCall, degraded,
    query::{Limit, Query, names, next_name},
    reply,
};

/// A page of channels.
#[derive(Serialize, ToSchema)]
struct ChannelPage<'a> {
    #[schema(inline)]
    channels: Vec<SubscribedChannel<'a>>,
    /// The cursor of the next page; null on the last.
    #[schema(required)]
    next_cursor: Option<&'a str>,
    /// True if a node has not answered, or the broker was unavailable; otherwise absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(inline, nullable = false)]
    degraded: Option<Always<true>>,
}

/// A channel, and the number of its subscribers.
#[derive(Serialize, ToSchema)]
struct SubscribedChannel<'a> {
    name: &'a str,
    connections: u64,
}

/// The channels with exact subscriptions, on any node.
#[utoipa::path(
    get,
    path = "/api/v1/channels",
    operation_id = "listChannels",
    params(
        ("prefix" = Option<String>, Query, description = "Only names with this prefix."),
        Limit,
        ("cursor" = Option<String>, Query, description = "The `next_cursor` of the page before."),
    ),
    responses(
        (
            status = 200,
            description = "A page of channels, by name.",
            body = inline(ChannelPage<'static>),
            example = json!({ "channels": [{ "name": "chat.general", "connections": 12 }], "next_cursor": null }),
        ),
    ),
)]
pub(in crate::http) async fn list(call: RouteCall<'_>) -> Result<Reply, ApiFailure> {
    let names = names(call.query())?;
    let limit = names.limit;
    let found = call.site.node.channels(names).await;
    let next_cursor = next_name(&found.answer, limit);
    let channels = found.answer.iter();
    let channels = channels.map(|(name, &connections)| SubscribedChannel { name, connections });
    Ok(reply::ok(&ChannelPage {
        channels: channels.collect(),
        next_cursor,
        degraded: degraded(found.complete),
    }))
}

/// A page of a room's members.
#[derive(Serialize, ToSchema)]
struct MemberPage<'a> {
    channel: &'a str,
    #[schema(inline)]
    members: Vec<Member<'a>>,
    /// The cursor of the next page; null on the last.
    #[schema(required)]
    next_cursor: Option<&'a str>,
    /// False if a node has not answered, or the broker was unavailable.
    complete: bool,
}

/// A user in a room.
#[derive(Serialize, ToSchema)]
struct Member<'a> {
    user: &'a str,
    /// The display name; the id, if the token has none.
    username: &'a str,
    /// The user's connections in the room.
    connections: u64,
    /// The nodes of these connections.
    nodes: u64,
    /// The time at which the user's first connection joined.
    #[schema(format = DateTime)]
    since: String,
}

/// The members of a room, on any node.
#[utoipa::path(
    get,
    path = "/api/v1/channels/{name}/presence",
    operation_id = "listMembers",
    params(
        ("name" = String, Path, description = "The room's name, percent-encoded.", min_length = 1, example = "project:7"),
        Limit,
        ("cursor" = Option<String>, Query, description = "The `next_cursor` of the page before."),
    ),
    responses(
        (
            status = 200,
            description = "A page of members, by id; empty for a room without members.",
            body = inline(MemberPage<'static>),
            example = json!({
                "channel": "project:123",
                "members": [{
                    "user": "123",
                    "username": "alice",
                    "connections": 2,
                    "nodes": 1,
                    "since": "2026-01-02T03:04:05.678Z",
                }],
                "next_cursor": null,
                "complete": true,
            }),
        ),
    ),
)]
pub(in crate::http) async fn members(call: RouteCall<'_>) -> Result<Reply, ApiFailure> {
    let room = Channel::new(&call.name()?);
    let room = room.map_err(|bad| format!("the channel's name in the path: {bad}"))?;
    let query = Query::read(call.query(), &["limit", "cursor"])?;
    let (limit, after) = (query.limit()?, query.get("cursor").unwrap_or_default());
    let found = call.site.node.room_members(&room, after, limit).await;
    let next = found.answer.last().filter(|_| found.answer.len() == limit);
    Ok(reply::ok(&MemberPage {
        channel: &room,
        members: found.answer.iter().map(Member::of).collect(),
        next_cursor: next.map(|member| &*member.user),
        complete: found.complete,
    }))
}

impl<'a> Member<'a> {
    fn of(member: &'a RoomMember) -> Self {
        Self {
            user: &member.user,
            username: &member.username,
            connections: member.connections,
            nodes: member.nodes,
            since: reply::time_since_1970(Duration::from_millis(member.since_ms)),
        }
    }
}
