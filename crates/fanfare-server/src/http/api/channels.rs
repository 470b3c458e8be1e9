//! `GET /api/v1/channels`: the channels with exact subscriptions, on any node.

use serde::Serialize;
use utoipa::ToSchema;

use super::{
    super::{call::RouteCall, forms::Always},
    ApiFailure, Reply, degraded,
    query::{Limit, names, next_name},
    reply,
};

/// A page of channels.
#[derive(Serialize, ToSchema)]
struct ChannelPage<'a> {
    #[schema(inline)]
    channels: Vec<Channel<'a>>,
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
struct Channel<'a> {
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
    let channels = channels.map(|(name, &connections)| Channel { name, connections });
    Ok(reply::ok(&ChannelPage {
        channels: channels.collect(),
        next_cursor,
        degraded: degraded(found.complete),
    }))
}
