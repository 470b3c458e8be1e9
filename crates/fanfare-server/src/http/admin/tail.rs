//! `GET /api/v1/tail`: streams published events, a line of JSON for each.
//!
//! The node subscribes to the events at the broker, so a tail shows the events of all nodes, in the order of this node's deliveries. If the
//! reader is too slow, or more events arrive in a second than a tail shows, events are lost; a line has their number.

use std::{net::IpAddr, sync::Arc, time::Duration};

use bytes::Bytes;
use fanfare_accounts::Scope;
use fanfare_core::{Event, timestamp};
use fanfare_engine::{Subject, Tail, TailedEvent};
use futures_util::FutureExt;
use http::{StatusCode, header, request::Parts};
use serde::Serialize;
use serde_json::value::RawValue;
use tokio::{
    sync::mpsc,
    time::{Instant, MissedTickBehavior, interval, timeout},
};
use utoipa::ToSchema;
use uuid::Uuid;

use super::{ApiFailure, Reply, RouteCall, Site, api_error, query::Query, reply};
use crate::http::{caller, progress::InProgress, reply_body::ReplyBody};

/// The times between two checks for a drain, and of the caller's credential.
const CHECK_DRAIN_EVERY: Duration = Duration::from_millis(100);
const CHECK_ACCESS_EVERY: Duration = Duration::from_secs(2);
/// The longest time without a byte, at most half of `limits.keep_alive_timeout`. Proxies close a silent stream, and a lost client is only
/// noticed when it does not accept bytes.
const SILENCE: Duration = Duration::from_secs(5);
/// The most events in one write.
const AT_ONCE: usize = 64;

/// A line of a tail. Ignore empty lines.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
enum TailLine<'a> {
    /// The first line. Events that are published after it are shown.
    Open { node: Uuid },
    /// An event.
    Event(#[schema(inline)] TailEvent<'a>),
    /// The number of events that were lost here: the reader was too slow, or there were more than `observe.max_tail_events_per_second`.
    Lost(u64),
    /// The last line: the reason why the server ends the tail.
    End { code: &'a str, message: &'a str },
}

/// An event of a tail.
#[derive(Serialize, ToSchema)]
struct TailEvent<'a> {
    id: Uuid,
    #[serde(rename = "type")]
    #[schema(required)]
    kind: Option<&'a str>,
    /// The user of its audience.
    #[schema(required)]
    user: Option<&'a str>,
    /// The channel of its audience. An event without a user and a channel is for everyone.
    #[schema(required)]
    channel: Option<&'a str>,
    #[schema(format = DateTime)]
    published_at: String,
    #[schema(required)]
    sender: Option<&'a str>,
    /// The length of its data.
    data_bytes: usize,
    /// The number of users that may receive it; null if it is not private.
    #[schema(required)]
    private_to: Option<usize>,
    /// Its data; absent without `data=true`.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<Object>, nullable = false)]
    data: Option<&'a RawValue>,
    /// Its metadata; absent without `data=true`, and if the event has none.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<Object>, nullable = false)]
    metadata: Option<&'a RawValue>,
}

struct TailQuery {
    subjects: Vec<Subject>,
    /// Whether lines have the events' data.
    data: bool,
}

/// Streams events as they are published. The scope `read` is enough without `data`; with it, the caller needs `admin`.
#[utoipa::path(
    get,
    path = "/api/v1/tail",
    operation_id = "tail",
    params(
        ("user" = Option<String>, Query, description = "The events for this user."),
        ("channel" = Option<String>, Query, description = "The events on this channel, or on those that a pattern matches.", example = "board.*"),
        ("everyone" = Option<bool>, Query, description = "The events for everyone. At least one of the three is needed."),
        ("data" = Option<bool>, Query, description = "`true` shows data and metadata; that needs the scope `admin`."),
    ),
    responses(
        (
            status = 200,
            description = "A line of JSON for each event, until the caller disconnects.",
            content_type = "application/jsonl",
            body = inline(TailLine<'static>),
        ),
    ),
)]
pub(in crate::http) async fn open(call: RouteCall<'_>) -> Result<Reply, ApiFailure> {
    let site = call.site;
    let TailQuery { subjects, data } = TailQuery::read(call.query())?;
    let scope = if data { Scope::Admin } else { Scope::Read };
    caller::authorize(site, call.peer, &call.head, scope).await?;
    let tail = site.node.tail(subjects).await.map_err(|_| {
        let message = "the node has as many tails as observe.max_tails allows";
        let refused = api_error(StatusCode::TOO_MANY_REQUESTS, "TOO_MANY_TAILS", message);
        reply::retry_later(refused)
    })?;
    let (sender, parts) = mpsc::channel(1);
    let stream = TailStream {
        tail,
        sender,
        data,
        scope,
        site: site.clone(),
        peer: call.peer,
        head: call.head,
        wrote_at: Instant::now(),
        checked_at: Instant::now(),
        _progress: InProgress::new(&site.node),
    };
    tokio::task::spawn_local(stream.run());
    let reply = Reply::new(ReplyBody::Stream(parts));
    let reply = reply::with(reply, header::CONTENT_TYPE, "application/jsonl");
    if data {
        call.audit.changed("opened a tail with data");
    }
    let reply = reply::with(reply, header::CACHE_CONTROL, "no-store");
    Ok(reply::unbuffered(reply))
}

/// An open tail, and its caller.
struct TailStream {
    tail: Tail,
    sender: mpsc::Sender<Bytes>,
    data: bool,
    scope: Scope,
    site: Arc<Site>,
    peer: IpAddr,
    head: Parts,
    wrote_at: Instant,
    checked_at: Instant,
    /// Makes a drain wait until the last line is sent.
    _progress: InProgress,
}

impl TailStream {
    async fn run(mut self) {
        let node = self.site.node.id;
        if !self.write(line(&TailLine::Open { node })).await {
            return;
        }
        let silence = SILENCE.min(self.site.rules().keep_alive_timeout / 2);
        let mut checks = interval(CHECK_DRAIN_EVERY.min(silence));
        checks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            let text = tokio::select! {
                () = self.sender.closed() => return,
                next = self.tail.next() => self.events(next),
                _ = checks.tick() => {
                    if let Some(end) = self.end().await {
                        self.write(line(&end)).await;
                        return;
                    }
                    if self.wrote_at.elapsed() < silence {
                        continue;
                    }
                    "\n".into()
                }
            };
            if !self.write(text).await {
                return;
            }
        }
    }

    /// Returns why the tail ends, if it does.
    async fn end(&mut self) -> Option<TailLine<'static>> {
        if self.site.node.is_draining() {
            let (code, message) = ("SHUTTING_DOWN", "the server is stopping");
            return Some(TailLine::End { code, message });
        }
        if self.checked_at.elapsed() < CHECK_ACCESS_EVERY {
            return None;
        }
        self.checked_at = Instant::now();
        let allowed = caller::authorize(&self.site, self.peer, &self.head, self.scope).await;
        let rejection = allowed.err()?;
        let (code, message) = (rejection.code(), "the credential does not allow this any more");
        Some(TailLine::End { code, message })
    }

    /// Returns the lines of `first` and of the events that wait after it.
    fn events(&self, first: TailedEvent) -> String {
        let mut lines = String::new();
        let mut next = Some(first);
        for _ in 0..AT_ONCE {
            let Some(TailedEvent { event, lost }) = next else {
                break;
            };
            if lost > 0 {
                lines += &line(&TailLine::Lost(lost));
            }
            lines += &line(&TailLine::Event(TailEvent::of(&event, self.data)));
            next = None;
            if lines.len() < 65_536 {
                next = self.tail.next().now_or_never();
            }
        }
        lines
    }

    /// Sends `text` as soon as the client accepts it, and returns whether the client is still connected. Gives up if the tail ends.
    async fn write(&mut self, text: String) -> bool {
        let sender = self.sender.clone();
        loop {
            let room = timeout(CHECK_DRAIN_EVERY, sender.reserve()).await;
            if let Ok(room) = room {
                let is_connected = room.map(|room| room.send(text.into())).is_ok();
                self.wrote_at = Instant::now();
                return is_connected;
            }
            // Checked here, too: a client that does not read must not keep a revoked right.
            if self.end().await.is_some() {
                return false;
            }
        }
    }
}

/// Returns a line of JSON. Line breaks in an event's data can only stand between tokens, where a space is equivalent.
fn line(line: &TailLine<'_>) -> String {
    let text = serde_json::to_string(line).unwrap_or_default(); // written to memory
    text.replace(['\n', '\r'], " ") + "\n"
}

impl<'a> TailEvent<'a> {
    fn of(event: &'a Event, shows_data: bool) -> Self {
        let (user, channel) = event.audience.names();
        let metadata = event.metadata.as_ref();
        Self {
            id: event.id,
            kind: event.kind.as_deref(),
            user,
            channel,
            published_at: timestamp(event.timestamp).to_string(),
            sender: event.sender.as_deref().map(|sender| &*sender.id),
            data_bytes: event.data.bytes().len(),
            private_to: event.private_to.as_deref().map(<[_]>::len),
            data: shows_data.then(|| reply::raw(&event.data)).flatten(),
            metadata: metadata.filter(|_| shows_data).and_then(reply::raw),
        }
    }
}

impl TailQuery {
    fn read(query: &str) -> Result<Self, String> {
        let query = Query::read(query, &["user", "channel", "everyone", "data"])?;
        let flag = |name| -> Result<bool, String> {
            Ok(query.parsed(name, "expected true or false")?.unwrap_or_default())
        };
        let mut subjects = Vec::new();
        if let Some(user) = query.get("user") {
            subjects.push(Subject::user(user).map_err(|error| format!("user: {error}"))?);
        }
        if let Some(channel) = query.get("channel") {
            subjects.push(Subject::channel(channel).map_err(|error| format!("channel: {error}"))?);
        }
        subjects.extend(flag("everyone")?.then_some(Subject::Everyone));
        if subjects.is_empty() {
            return Err("one of user, channel and everyone is needed".to_owned());
        }
        let data = flag("data")?;
        Ok(Self { subjects, data })
    }
}

#[cfg(test)]
mod tests {
    use std::time::SystemTime;

    use fanfare_core::{Audience, RawJson};

    use super::*;

    #[test]
    fn queries() {
        for (query, found) in [
            ("user=ann", Ok((1, false))),
            ("user=ann&channel=chat.*&everyone=true&data=true", Ok((3, true))),
            ("everyone=false", Err("is needed")),
            ("", Err("is needed")),
            ("user=", Err("user: the name is empty")),
            ("channel=a*", Err("channel: ")),
            ("everyone=yes", Err("everyone: expected true or false")),
            ("id=1", Err("unknown parameter")),
        ] {
            match (TailQuery::read(query), found) {
                (Ok(read), Ok(found)) => assert_eq!((read.subjects.len(), read.data), found, "{query}"),
                (Err(message), Err(words)) => assert!(message.contains(words), "{query}: {message}"),
                _ => panic!("{query}"),
            }
        }
    }

    #[test]
    fn an_event_is_one_line_and_has_its_data_only_on_request() {
        let data = RawJson::parse(&Bytes::from_static(
            b"{\n\"secret\": \"<b>\\n\xf0\x9f\x98\x80\"\r\n}",
        ));
        let event = Event::new(
            Audience::Everyone,
            Some("t\n"),
            data.expect("JSON"),
            SystemTime::now(),
        );
        let text = line(&TailLine::Event(TailEvent::of(&event, true)));
        assert_eq!(text.matches('\n').count(), 1);
        let read: serde_json::Value = serde_json::from_str(&text).expect("a line of JSON");
        assert_eq!(read["event"]["data"]["secret"], "<b>\n\u{1f600}");
        assert_eq!(read["event"]["type"], "t\n");
        let text = line(&TailLine::Event(TailEvent::of(&event, false)));
        assert!(!text.contains("secret") && text.contains("data_bytes"), "{text}");
    }
}
