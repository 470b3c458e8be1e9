//! `GET /api/v1/explain`: explains the decisions about a user and a channel, and lists the user's connections that receive it.

use fanfare_core::{Audience, format_duration, policy::AccessControl};
use fanfare_engine::{Filter, Row};
use serde::Serialize;
use serde_json::{Map, Value};
use utoipa::ToSchema;

use super::{Always, ApiFailure, Reply, RouteCall, Site, degraded, query::Query, reply};
use crate::{
    access::{ExplainedAction, decide},
    http::api::connections::Connection,
};

/// The limit of listed connections.
const CONNECTIONS: usize = 100;

/// The decisions about a user and a channel.
#[derive(Serialize, ToSchema)]
struct Explained<'a> {
    #[schema(required)]
    user: Option<&'a str>,
    channel: &'a str,
    /// Whether the channel has members.
    room: bool,
    #[schema(inline)]
    decisions: Vec<Explanation<'a>>,
    /// The limits of its history; null if no events are kept.
    #[schema(inline, required)]
    history: Option<ExplainedHistory>,
    /// The user's connections that receive the channel's events, at most 100. The authorizer is not asked, and may still refuse.
    #[schema(inline)]
    receiving: Vec<Connection<'a>>,
    /// The user's other connections.
    #[schema(inline)]
    not_receiving: Vec<NotReceiving<'a>>,
    /// True if a node has not answered, or the broker was unavailable; otherwise absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(inline, nullable = false)]
    degraded: Option<Always<true>>,
}

/// The limits of kept events.
#[derive(Serialize, ToSchema)]
struct ExplainedHistory {
    /// The most events that are kept.
    size: u32,
    /// The time that an event is kept, such as `5m`.
    ttl: String,
    /// The number of the access rule that decides; null for the events of users, which `history.users` decides.
    #[schema(required)]
    rule: Option<usize>,
    /// The pattern of that rule.
    #[schema(required)]
    pattern: Option<String>,
}

impl ExplainedHistory {
    fn of(access: &AccessControl, audience: &Audience) -> Option<Self> {
        let (retention, rule) = access.explain_history(audience)?;
        let (rule, pattern) = rule.map(|rule| (rule.number, rule.pattern)).unzip();
        Some(Self {
            size: retention.size,
            ttl: format_duration(retention.ttl),
            rule,
            pattern,
        })
    }
}

/// A connection that does not receive the channel's events.
#[derive(Serialize, ToSchema)]
struct NotReceiving<'a> {
    #[serde(flatten)]
    #[schema(inline)]
    connection: Connection<'a>,
    /// The reason: it has not subscribed, the access rules or the authorizer refuse the channel, or its token has expired.
    #[schema(inline)]
    reason: WithheldBecause,
}

#[derive(Clone, Copy, Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
enum WithheldBecause {
    NotSubscribed,
    Refused,
    Expired,
}

/// The decision about an action of the user on the channel.
#[derive(Serialize, ToSchema)]
struct Explanation<'a> {
    /// subscribe, join or publish.
    action: &'a str,
    /// allowed or refused; authorizer if the authorizer decides.
    verdict: &'a str,
    /// A stable name of the cause: a rule or a default.
    decided_by: &'a str,
    reason: &'a str,
    /// The number of the access rule, if one decided.
    #[schema(required)]
    rule: Option<usize>,
    /// The pattern of that rule.
    #[schema(required)]
    pattern: Option<&'a str>,
}

struct ExplainQuery {
    user: Option<Box<str>>,
    channel: Box<str>,
    audience: Audience,
    claims: Map<String, Value>,
}

/// Explains whether a user may use a channel, and lists the user's connections that receive it.
#[utoipa::path(
    get,
    path = "/api/v1/explain",
    operation_id = "explain",
    params(
        ("channel" = String, Query, description = "A channel, a room or a personal channel.", min_length = 1, example = "board.kitchen"),
        ("user" = Option<String>, Query, description = "The user; without it, a connection without a token.", example = "mia"),
        ("claims" = Option<String>, Query, description = "Claims of the user's token, as a JSON object."),
    ),
    responses((status = 200, description = "The decisions with their reasons, and the user's connections.", body = inline(Explained<'static>))),
)]
pub(in crate::http) async fn explain(call: RouteCall<'_>) -> Result<Reply, ApiFailure> {
    let site = call.site;
    let asked = ExplainQuery::read(call.query())?;
    let who = match &asked.user {
        None => None,
        Some(user) => {
            let identity = site.gate.hypothetical(user, asked.claims.clone());
            Some(identity.ok_or("user: no user id")?)
        }
    };
    let access = &site.node.access;
    let room = matches!(&asked.audience, Audience::Channel(channel) if access.names().is_room(channel));
    let decisions = decide(access, who.as_ref(), &asked.audience, room);
    let (receiving, others, complete) = receivers(&asked, site).await;
    let not_receiving = others.iter().map(|(row, reason)| NotReceiving {
        connection: Connection::full(row),
        reason: *reason,
    });
    Ok(reply::ok(&Explained {
        user: asked.user.as_deref(),
        channel: &asked.channel,
        room,
        decisions: decisions.iter().map(Explanation::of).collect(),
        history: ExplainedHistory::of(access, &asked.audience),
        receiving: receiving.iter().map(Connection::full).collect(),
        not_receiving: not_receiving.collect(),
        degraded: degraded(complete),
    }))
}

/// Returns the user's connections that a publication on the channel would reach, and the others. The flag is true if every node has
/// answered.
async fn receivers(asked: &ExplainQuery, site: &Site) -> (Vec<Row>, Vec<(Row, WithheldBecause)>, bool) {
    let Some(user) = &asked.user else {
        return (Vec::new(), Vec::new(), true);
    };
    let all = Filter {
        user: Some(user.clone()),
        limit: CONNECTIONS,
        subscriptions: Some(0),
        ..Filter::default()
    };
    let covering = Filter {
        covers: Some(asked.channel.clone()),
        ..all.clone()
    };
    let (all, covering) = tokio::join!(site.node.connections(all), site.node.connections(covering));
    let own = matches!(&asked.audience, Audience::User(of) if **of == **user);
    let withheld = |row: &Row| {
        let covered = covering.answer.rows.iter().find(|one| one.id == row.id);
        match covered {
            _ if row.detail.paused => Some(WithheldBecause::Expired),
            Some(covered) if covered.detail.refused => Some(WithheldBecause::Refused),
            None if !(own && row.detail.gets_user) => Some(WithheldBecause::NotSubscribed),
            _ => None,
        }
    };
    let (mut receiving, mut others) = (Vec::new(), Vec::new());
    for row in all.answer.rows {
        match withheld(&row) {
            Some(reason) => others.push((row, reason)),
            None => receiving.push(row),
        }
    }
    (receiving, others, all.complete && covering.complete)
}

impl ExplainQuery {
    fn read(query: &str) -> Result<Self, String> {
        let query = Query::read(query, &["user", "channel", "claims"])?;
        let channel = query.text("channel").ok_or("channel: missing")?;
        let claims = query
            .get("claims")
            .map_or_else(|| Ok(Map::new()), serde_json::from_str);
        Ok(Self {
            user: query.text("user"),
            audience: Audience::of_channel(&channel).map_err(|error| format!("channel: {error}"))?,
            channel,
            claims: claims.map_err(|error| format!("claims: expected a JSON object: {error}"))?,
        })
    }
}

impl<'a> Explanation<'a> {
    fn of(decision: &'a ExplainedAction) -> Self {
        let explained = &decision.explained;
        Self {
            action: decision.action,
            verdict: decision.verdict(),
            decided_by: explained.code,
            reason: &explained.reason,
            rule: explained.rule.as_ref().map(|rule| rule.number),
            pattern: explained.rule.as_ref().map(|rule| &*rule.pattern),
        }
    }
}
