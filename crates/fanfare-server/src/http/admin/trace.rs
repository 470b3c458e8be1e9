//! `/api/v1/trace`: arms and disarms traces on all nodes, lists traced events, and shows the outcome of one at each connection.

use std::time::{Duration, SystemTime};

use fanfare_core::timestamp;
use fanfare_engine::{Filter, Subject, TraceOrder};
use http::StatusCode;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use uuid::Uuid;

use super::{
    Always, ApiError, ApiFailure, Reply, RouteCall, api_error, degraded, not_found,
    query::{Limit, Query},
    read, reply,
    traced::{ShownEvent, ShownTrace, UserVerdict},
    unavailable,
    verdict::Evidence,
};

/// The limits of an armed trace: its events, and its time in seconds.
const MAX_EVENTS: usize = 100;
const MAX_SECONDS: u64 = 3600;
const DEFAULT_SECONDS: u64 = 60;
/// The limit of the user's connections that are considered.
const CONNECTIONS: usize = 100;

/// The events to trace: at least one of `user`, `channel`, `everyone` and `event`.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct ArmTraceBody {
    /// Without another field: the events for this user. With one: the user whose connections are recorded even if they do not receive the
    /// event.
    user: Option<String>,
    /// The events on this channel, or on the channels that a pattern matches.
    channel: Option<String>,
    /// The events for everyone.
    #[serde(default)]
    everyone: bool,
    /// The event with this id, which its publisher will choose.
    event: Option<Uuid>,
    /// The number of events that each node records.
    #[schema(minimum = 1, maximum = 100, default = 1)]
    events: Option<usize>,
    /// The time that the trace is armed, in seconds.
    #[schema(minimum = 1, maximum = 3600, default = 60)]
    seconds: Option<u64>,
}

/// An armed trace.
#[derive(Serialize, ToSchema)]
struct ArmedTrace {
    /// Its id: `GET /api/v1/trace?trace=` lists its events.
    trace: Uuid,
    /// Its end.
    #[schema(format = DateTime)]
    until: String,
    /// True if a node has not answered, so that it may not be armed; otherwise absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(inline, nullable = false)]
    degraded: Option<Always<true>>,
}

/// Traced events, the latest first.
#[derive(Serialize, ToSchema)]
struct TracedEvents<'a> {
    #[schema(inline)]
    events: Vec<ShownEvent<'a>>,
    /// True if a node has not answered; otherwise absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(inline, nullable = false)]
    degraded: Option<Always<true>>,
}

/// Arms a trace on all nodes: they record the next events, and the outcome of each at every connection.
#[utoipa::path(
    post,
    path = "/api/v1/trace",
    operation_id = "armTrace",
    request_body(content = inline(ArmTraceBody), example = json!({ "channel": "chat.*", "user": "ann", "seconds": 60 })),
    responses(
        (status = 200, description = "It is armed.", body = inline(ArmedTrace)),
    ),
)]
pub(in crate::http) async fn arm(call: RouteCall<'_>) -> Result<Reply, ApiFailure> {
    let wanted: ArmTraceBody = read(call.body, call.site).await?;
    let order = wanted.order()?;
    let trace = order.id;
    // Taken before the nodes are armed, so that each node is armed at least until then.
    let until = timestamp(SystemTime::now() + Duration::from_secs(order.seconds)).to_string();
    let asked = call.site.node.arm_trace(order).await;
    if !asked.answer {
        let message = "a node has as many armed traces as observe.max_armed allows";
        let refused = api_error(StatusCode::TOO_MANY_REQUESTS, "TOO_MANY_TRACES", message);
        return Err(reply::retry_later(refused).into());
    }
    let armed = ArmedTrace {
        trace,
        until,
        degraded: degraded(asked.complete),
    };
    call.audit.changed(&format!("armed the trace {trace}"));
    Ok(reply::ok(&armed))
}

/// The traced events that the nodes keep, the latest first.
#[utoipa::path(
    get,
    path = "/api/v1/trace",
    operation_id = "listTraces",
    params(
        ("trace" = Option<Uuid>, Query, description = "Only those that this armed trace recorded."),
        Limit,
    ),
    responses((status = 200, description = "The events, without their data.", body = inline(TracedEvents<'static>))),
)]
pub(in crate::http) async fn list(call: RouteCall<'_>) -> Result<Reply, ApiFailure> {
    let query = Query::read(call.query(), &["trace", "limit"])?;
    let order = query.parsed("trace", "expected a UUID")?;
    let found = call.site.node.traces(order, query.limit()?).await;
    let events = found.answer.iter().map(|one| ShownEvent::of(&one.event));
    Ok(reply::ok(&TracedEvents {
        events: events.collect(),
        degraded: degraded(found.complete),
    }))
}

/// The outcome of a traced event on each node and at each connection, and the reason why a user did or did not receive it.
#[utoipa::path(
    get,
    path = "/api/v1/trace/{id}",
    operation_id = "showTrace",
    params(
        ("id" = Uuid, Path, description = "The event's id.", example = "0190a1b2-c3d4-7e5f-8a9b-0c1d2e3f4a5b"),
        ("user" = Option<String>, Query, description = "A user: the reply has the reason why this user did or did not receive it."),
    ),
    responses(
        (status = 200, description = "The records of the nodes so far.", body = inline(ShownTrace<'static>)),
        (status = 404, description = "No node has a trace of this event.", body = ApiError<'static>),
        (
            status = 503,
            description = "A node that did not answer may have the trace; or the server is stopping.",
            body = ApiError<'static>,
            headers(("Retry-After" = u64, description = "After how many seconds to repeat the request; absent if that is unknown.")),
        ),
    ),
)]
pub(in crate::http) async fn show(call: RouteCall<'_>) -> Result<Reply, ApiFailure> {
    let (id, site) = (call.id()?, call.site);
    let user = Query::read(call.query(), &["user"])?.text("user");
    let found = site.node.trace(id).await;
    let nodes = found.answer.len();
    let traces: Vec<_> = found.answer.into_iter().flatten().collect();
    if traces.is_empty() && !found.complete {
        return Err(unavailable("not every node has answered; try again"));
    }
    let first = traces.first().ok_or_else(|| {
        not_found(
            "no node has a trace of this event: none was armed for it when it was published, or it was evicted since",
        )
    })?;
    let asked_about = user.or_else(|| first.focus.clone());
    let about = match &asked_about {
        Some(user) => {
            let filter = Filter {
                user: Some(user.clone()),
                limit: CONNECTIONS,
                subscriptions: Some(0),
                ..Filter::default()
            };
            let connections = site.node.connections(filter).await;
            let evidence = Evidence {
                traces: &traces,
                user,
                connections: &connections.answer.rows,
                complete: found.complete && connections.complete,
            };
            let (verdict, reason) = evidence.verdict();
            Some(UserVerdict {
                user,
                verdict,
                reason,
                connections_now: connections.answer.rows.len(),
            })
        }
        None => None,
    };
    let shown = ShownTrace::new(&traces, nodes, about, degraded(found.complete));
    Ok(reply::ok(&shown))
}

/// Disarms a trace on all nodes. Its records stay.
#[utoipa::path(
    delete,
    path = "/api/v1/trace/{id}",
    operation_id = "disarmTrace",
    params(("id" = Uuid, Path, description = "The id of the armed trace: `trace` in the answer that armed it.", example = "0190a1b2-c3d4-7e5f-8a9b-0c1d2e3f4a5b")),
    responses(
        (status = 204, description = "It is disarmed: no node records further events for it."),
        (status = 404, description = "It is not armed: it has ended, or there never was one.", body = ApiError<'static>),
    ),
)]
pub(in crate::http) async fn disarm(call: RouteCall<'_>) -> Result<Reply, ApiFailure> {
    let id = call.id()?;
    if !call.site.node.disarm_trace(id).await.answer {
        return Err(not_found("no such trace is armed"));
    }
    call.audit.changed(&format!("disarmed the trace {id}"));
    Ok(reply::no_content())
}

impl ArmTraceBody {
    /// Returns the order to the nodes.
    fn order(self) -> Result<TraceOrder, String> {
        let mut subjects = Vec::new();
        if let Some(channel) = &self.channel {
            subjects.push(Subject::channel(channel).map_err(|error| format!("channel: {error}"))?);
        }
        subjects.extend(self.everyone.then_some(Subject::Everyone));
        subjects.extend(self.event.map(Subject::Event));
        if let Some(user) = &self.user {
            let own = Subject::user(user).map_err(|error| format!("user: {error}"))?;
            if subjects.is_empty() {
                subjects.push(own);
            }
        }
        if subjects.is_empty() {
            return Err("one of user, channel, everyone and event is needed".to_owned());
        }
        let (events, seconds) = (self.events.unwrap_or(1), self.seconds.unwrap_or(DEFAULT_SECONDS));
        if !(1..=MAX_EVENTS).contains(&events) {
            return Err(format!("events: expected a number from 1 to {MAX_EVENTS}"));
        }
        if !(1..=MAX_SECONDS).contains(&seconds) {
            return Err(format!("seconds: expected a number from 1 to {MAX_SECONDS}"));
        }
        Ok(TraceOrder {
            id: Uuid::now_v7(),
            subjects,
            user: self.user.map(Into::into),
            events,
            seconds,
        })
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn order(body: Value) -> Result<TraceOrder, String> {
        let wanted = serde_json::from_value::<ArmTraceBody>(body).map_err(|error| error.to_string())?;
        wanted.order()
    }

    #[test]
    fn orders() {
        let known = |subject: Result<Subject, _>| subject.expect("a name");
        let (user, channel) = (known(Subject::user("ann")), known(Subject::channel("chat.*")));
        for (body, subjects) in [
            (json!({"user": "ann"}), vec![user.clone()]),
            (json!({"channel": "user:ann"}), vec![user]),
            (json!({"channel": "chat.*", "user": "ann"}), vec![channel.clone()]),
            (
                json!({"channel": "chat.*", "everyone": true}),
                vec![channel, Subject::Everyone],
            ),
            (
                json!({"event": Uuid::nil(), "events": 100, "seconds": 3600}),
                vec![Subject::Event(Uuid::nil())],
            ),
        ] {
            assert_eq!(
                order(body.clone()).map(|order| order.subjects),
                Ok(subjects),
                "{body}"
            );
        }
        for (body, words) in [
            (json!({}), "is needed"),
            (json!({"user": ""}), "user: the name is empty"),
            (json!({"channel": "a*"}), "channel: "),
            (json!({"user": "u".repeat(10_000_000)}), "longer than 255"),
            (json!({"user": "ann", "events": 0}), "from 1 to 100"),
            (json!({"user": "ann", "events": 101}), "from 1 to 100"),
            (json!({"user": "ann", "seconds": 3601}), "from 1 to 3600"),
            (json!({"event": "<script>"}), "UUID"),
            (json!({"users": "ann"}), "unknown field"),
        ] {
            let error = order(body).map(|order| order.subjects).expect_err("a refusal");
            assert!(error.contains(words), "{error}");
        }
    }
}
