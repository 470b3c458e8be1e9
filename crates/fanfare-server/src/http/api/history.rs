//! `GET /api/v1/history`: the kept events of a channel or a user, page by page.

use fanfare_core::{
    Audience, EVERYONE_CHANNEL, Event, UserId,
    history::{Since, Unrecovered},
    journal::{Replay, ReplayFrom, ReplayQuery, ReplayScope},
    timestamp,
};
use serde::Serialize;
use serde_json::value::RawValue;
use utoipa::ToSchema;
use uuid::Uuid;

use super::{
    ApiFailure, Reply, RouteCall,
    query::{Limit, Query},
    reply,
};

/// A page of events.
#[derive(Serialize, ToSchema)]
struct HistoryPage<'a> {
    #[schema(inline)]
    events: Vec<KeptEvent<'a>>,
    /// The cursor of the page's last event; on an empty page, of the history's last event.
    cursor: String,
    /// False if an event after `since` is no longer kept, or `since` is not a cursor of this history.
    recovered: bool,
}

/// An event that is kept.
#[derive(Serialize, ToSchema)]
struct KeptEvent<'a> {
    id: Uuid,
    /// Null for an event without a type.
    #[serde(rename = "type")]
    #[schema(required)]
    kind: Option<&'a str>,
    /// The channel that it was published on.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    channel: Option<&'a str>,
    /// The user that it was published for.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    user: Option<&'a str>,
    /// True for an event for everyone; otherwise absent.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    everyone: bool,
    #[schema(value_type = Value)]
    data: &'a RawValue,
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Object, nullable = false)]
    metadata: Option<&'a RawValue>,
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    sender: Option<&'a str>,
    #[schema(format = DateTime)]
    timestamp: String,
    cursor: String,
}

/// The kept events of a channel or of a user.
#[utoipa::path(
    get,
    path = "/api/v1/history",
    operation_id = "history",
    params(
        ("channel" = Option<String>, Query, description = "A channel; `notifications` has the events for everyone, too.", example = "board.kitchen"),
        ("user" = Option<String>, Query, description = "A user. One of the two must be given."),
        ("since" = Option<String>, Query, description = "Only events after this cursor; in reverse, before it."),
        Limit,
        ("reverse" = Option<String>, Query, description = "`1` for the newest first."),
    ),
    responses(
        (status = 200, description = "A page, the oldest first.", body = inline(HistoryPage<'static>)),
    ),
)]
pub(in crate::http) async fn list(call: RouteCall<'_>) -> Result<Reply, ApiFailure> {
    let (query, is_cursor) = read(call.query())?;
    let mut replay = call.site.node.broker().replay(query).await;
    if !is_cursor {
        replay.unrecovered = Some(Unrecovered::Unknown);
    }
    Ok(reply::ok(&page(&replay)))
}

/// Reads the query. The flag is false if `since` is not a cursor.
fn read(text: &str) -> Result<(ReplayQuery, bool), String> {
    let query = Query::read(text, &["channel", "user", "since", "limit", "reverse"])?;
    let audience = match (query.get("channel"), query.get("user")) {
        (Some(channel), None) => Audience::of_channel(channel).map_err(|bad| format!("channel: {bad}"))?,
        (None, Some(user)) => Audience::User(UserId::new(user).map_err(|bad| format!("user: {bad}"))?),
        _ => return Err("expected one of channel and user".to_owned()),
    };
    let mut scope = ReplayScope::of(&audience);
    scope.everyone |= matches!(&audience, Audience::Channel(channel) if **channel == *EVERYONE_CHANNEL);
    let reverse = match query.get("reverse") {
        None | Some("0") => false,
        Some("1") => true,
        Some(_) => return Err("reverse: expected 0 or 1".to_owned()),
    };
    let since = query.get("since").map_or(Since::Now, Since::resume);
    let (since, is_cursor) = match since {
        Since::Cursor(cursor) => (Some(cursor), true),
        other => (None, other == Since::Now),
    };
    let query = ReplayQuery {
        scope,
        from: ReplayFrom::Page { since, reverse },
        limit: query.limit()?,
    };
    Ok((query, is_cursor))
}

fn page(replay: &Replay) -> HistoryPage<'_> {
    let events: Vec<_> = replay.events.iter().filter_map(|event| kept(event)).collect();
    let last = events.last().map(|event| event.cursor.clone());
    let present = || replay.present.map(|cursor| cursor.to_string());
    HistoryPage {
        cursor: last.or_else(present).unwrap_or_default(),
        recovered: replay.unrecovered.is_none(),
        events,
    }
}

fn kept(event: &Event) -> Option<KeptEvent<'_>> {
    let (user, channel) = event.audience.names();
    Some(KeptEvent {
        id: event.id,
        kind: event.kind.as_deref(),
        channel,
        user,
        everyone: event.audience == Audience::Everyone,
        data: reply::raw(&event.data)?,
        metadata: event.metadata.as_ref().and_then(reply::raw),
        sender: event.sender.as_deref().map(|sender| &*sender.id),
        timestamp: timestamp(event.timestamp).to_string(),
        cursor: event.history.position()?.cursor().to_string(),
    })
}
