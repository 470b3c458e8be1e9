//! The body of the service API: one event, or a list of them.

use std::{borrow::Cow, time::SystemTime};

use aws_lc_rs::digest::{SHA1_FOR_LEGACY_USE_ONLY, digest};
use bytes::Bytes;
use fanfare_core::{
    Audience, Event, MAX_DEPTH, MAX_NAME_BYTES, RawJson, RawObject, Sender, UserId, deeper_than,
    history::RESERVED_TYPES, string, without_mark,
};
use serde::Serialize;
use serde_json::{Map, Value, value::RawValue};
use utoipa::{
    ToSchema,
    openapi::{ArrayBuilder, Ref, RefOr, Schema},
};
use uuid::Uuid;

/// The most events in one body.
pub const MAX_EVENTS: usize = 10_000;
/// The longest id that a publisher may choose, in bytes.
const MAX_ID_BYTES: usize = 128;

/// One event, or a list of them.
// Used only for the schema and by clients; `parse_publication` parses bodies without it.
#[derive(Debug, Serialize, ToSchema)]
#[serde(untagged)]
pub enum Publication {
    /// One event.
    One(ServiceEvent),
    /// A list of events.
    Many(#[schema(inline)] EventList),
}

/// A list of events.
#[derive(Debug, Serialize)]
pub struct EventList(pub Vec<ServiceEvent>);

impl utoipa::PartialSchema for EventList {
    fn schema() -> RefOr<Schema> {
        ArrayBuilder::new()
            .items(Ref::from_schema_name(ServiceEvent::name()))
            .min_items(Some(1))
            .max_items(Some(MAX_EVENTS))
            .into()
    }
}

impl ToSchema for EventList {}

/// An event, as a service publishes it.
#[derive(Debug, Serialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct ServiceEvent {
    /// The receivers.
    #[schema(inline)]
    pub to: Recipient,
    /// The event's type. If it has none, each dialect sends a default.
    #[serde(rename = "type")]
    #[schema(min_length = 1, max_length = 255, nullable = false)]
    pub kind: Option<String>,
    /// Any JSON value; delivered byte for byte.
    pub data: Value,
    /// Delivered by dialects whose messages have metadata.
    #[schema(value_type = Option<Object>, nullable = false)]
    pub metadata: Option<Map<String, Value>>,
    /// The sender's name.
    #[schema(min_length = 1, max_length = 255, nullable = false)]
    pub sender: Option<String>,
    /// The idempotency key: within ten minutes, the event is published once. A UUID is the event's id.
    /// Of any other text, the event's id is the UUID v5 in the namespace of the nil UUID. The lengths are in bytes.
    #[schema(min_length = 1, max_length = 128, nullable = false)]
    pub id: Option<String>,
}

/// The receivers of an event.
#[derive(Debug, Serialize, ToSchema)]
#[serde(untagged)]
pub enum Recipient {
    /// Every connection.
    Everyone(#[schema(inline)] Everyone),
    /// The connections of a user.
    User(#[schema(inline)] ToUser),
    /// The subscribers of a channel.
    Channel(#[schema(inline)] ToChannel),
}

/// The word `everyone`.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum Everyone {
    /// The word itself.
    Everyone,
}

/// To a user.
#[derive(Debug, Serialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct ToUser {
    /// A user's id.
    #[schema(min_length = 1, max_length = 255)]
    pub user: String,
}

/// To a channel.
#[derive(Debug, Serialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct ToChannel {
    /// A channel, not a pattern.
    #[schema(min_length = 1, max_length = 255)]
    pub channel: String,
}

/// An error in a body, with its place: `events[3].to.user: expected …`.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{}{problem}", place(*.index, .field))]
pub struct PublicationError {
    /// The event's index in the list; `None` if the body is one event, or for an error of the whole body.
    pub index: Option<usize>,
    /// The field's path in the event; empty for an error of the whole event.
    pub field: &'static str,
    /// The problem.
    pub problem: String,
}

fn place(index: Option<usize>, field: &str) -> String {
    match (index, field) {
        (None, "") => String::new(),
        (None, field) => format!("{field}: "),
        (Some(index), "") => format!("events[{index}]: "),
        (Some(index), field) => format!("events[{index}].{field}: "),
    }
}

/// A field's path in its event, and the problem.
type Problem = (&'static str, String);

/// The problem of an event that is not an object.
const NO_OBJECT: &str = "expected an object";

impl PublicationError {
    fn new(index: Option<usize>, (field, problem): Problem) -> Self {
        Self {
            index,
            field,
            problem,
        }
    }
}

/// Parses a body that arrived at `now`.
///
/// # Errors
/// Returns the first error: the body is not JSON, has no event or more than [`MAX_EVENTS`], or an event does not have the documented form.
pub fn parse_publication(body: &Bytes, now: SystemTime) -> Result<Vec<Event>, PublicationError> {
    if let Some(fields) = object(body) {
        return match parse_event(body, &fields, now) {
            Ok(event) => Ok(vec![event]),
            Err(problem) => Err(PublicationError::new(None, problem)),
        };
    }
    let whole = |problem: &str| PublicationError::new(None, ("", problem.to_owned()));
    let not_json = || whole(&format!("expected JSON, nested at most {MAX_DEPTH} deep"));
    let raw: &RawValue = serde_json::from_slice(without_mark(body)).map_err(|_| not_json())?;
    if deeper_than(MAX_DEPTH, body) {
        return Err(not_json());
    }
    match raw.get().as_bytes().first() {
        Some(b'{') => Err(whole(NO_OBJECT)),
        Some(b'[') => {
            let list: Vec<&RawValue> = serde_json::from_str(raw.get()).map_err(|_| not_json())?;
            if list.is_empty() || list.len() > MAX_EVENTS {
                let found = list.len();
                return Err(whole(&format!(
                    "expected 1 to {MAX_EVENTS} events, found {found}"
                )));
            }
            let events = list.into_iter().enumerate().map(|(index, raw)| {
                let event = fields(raw, "", NO_OBJECT).and_then(|fields| parse_event(body, &fields, now));
                event.map_err(|problem| PublicationError::new(Some(index), problem))
            });
            events.collect()
        }
        _ => Err(whole("expected an event or a list of events")),
    }
}

/// Returns the fields of a body that is one event, in one pass over the body.
fn object(body: &[u8]) -> Option<RawObject<'_>> {
    let text = std::str::from_utf8(without_mark(body)).ok()?;
    let is_object = text.trim_ascii_start().starts_with('{');
    is_object.then(|| RawObject::parse(text).ok()).flatten()
}

fn parse_event(body: &Bytes, fields: &RawObject<'_>, now: SystemTime) -> Result<Event, Problem> {
    let names = ["to", "type", "data", "metadata", "sender", "id"];
    let [to, kind, data, metadata, sender, id] = take(fields, "", names)?;
    let audience = audience(to.ok_or_else(|| missing("to"))?)?;
    let data = RawJson::slice(body, data.ok_or_else(|| missing("data"))?)
        .map_err(|_| ("data", format!("expected JSON, nested at most {MAX_DEPTH} deep")))?;
    let metadata = metadata
        .map(|raw| super::object(body, raw).ok_or_else(|| ("metadata", "expected an object".to_owned())));
    let kind = kind.map(|raw| text("type", raw, MAX_NAME_BYTES)).transpose()?;
    if kind.as_deref().is_some_and(|kind| RESERVED_TYPES.contains(&kind)) {
        return Err(("type", "reserved for the server".to_owned()));
    }
    let sender = sender
        .map(|raw| text("sender", raw, MAX_NAME_BYTES))
        .transpose()?;
    let id = id.map(|raw| text("id", raw, MAX_ID_BYTES)).transpose()?;
    let id = id.map(|text| event_id(&text));
    let event = Event::new(audience, kind.as_deref(), data, now);
    Ok(Event {
        id: id.unwrap_or(event.id),
        named: id.is_some(),
        metadata: metadata.transpose()?,
        sender: sender.map(|id| Sender::new(&id)),
        ..event
    })
}

/// Returns the fields of `raw`, which must be an object.
fn fields<'a>(raw: &'a RawValue, at: &'static str, expected: &str) -> Result<RawObject<'a>, Problem> {
    RawObject::parse(raw.get()).map_err(|_| (at, expected.to_owned()))
}

/// Returns the values of the fields `names`. Other fields and repeated fields are errors.
fn take<'a, const N: usize>(
    fields: &RawObject<'a>,
    at: &'static str,
    names: [&'static str; N],
) -> Result<[Option<&'a RawValue>; N], Problem> {
    let mut found = [None; N];
    for (name, value) in fields.iter() {
        let Some(which) = names.iter().position(|known| *known == name) else {
            let name: String = name.escape_debug().take(64).collect();
            let known = names.join(", ");
            return Err((at, format!("unknown field `{name}` (there are: {known})")));
        };
        if found[which].replace(value).is_some() {
            return Err((at, format!("field `{}` is given twice", names[which])));
        }
    }
    Ok(found)
}

fn audience(raw: &RawValue) -> Result<Audience, Problem> {
    const EXPECTED: &str = r#"expected {"user": id}, {"channel": name} or "everyone""#;
    if let Some(text) = string(raw) {
        return match &*text {
            "everyone" => Ok(Audience::Everyone),
            _ => Err(("to", EXPECTED.to_owned())),
        };
    }
    match take(&fields(raw, "to", EXPECTED)?, "to", ["user", "channel"])? {
        [Some(user), None] => self::user(user).map(Audience::User),
        [None, Some(channel)] => self::channel(channel),
        [None, None] | [Some(_), Some(_)] => Err(("to", EXPECTED.to_owned())),
    }
}

fn user(raw: &RawValue) -> Result<UserId, Problem> {
    let at = "to.user";
    let id = string(raw).ok_or_else(|| (at, format!("expected a string{}", hint(raw))))?;
    UserId::new(&id).map_err(|bad| (at, bad.to_string()))
}

fn channel(raw: &RawValue) -> Result<Audience, Problem> {
    let at = "to.channel";
    let name = string(raw).ok_or_else(|| (at, format!("expected a string{}", hint(raw))))?;
    Audience::of_channel(&name).map_err(|bad| (at, bad.to_string()))
}

fn text<'a>(at: &'static str, raw: &'a RawValue, max_bytes: usize) -> Result<Cow<'a, str>, Problem> {
    let expected = format!("expected a string of 1 to {max_bytes} bytes");
    match string(raw) {
        Some(text) if (1..=max_bytes).contains(&text.len()) => Ok(text),
        Some(text) => Err((at, format!("{expected}, found {}", text.len()))),
        None => Err((at, format!("{expected}{}", hint(raw)))),
    }
}

/// Returns a hint for the caller about `raw`, which is not a string.
fn hint(raw: &RawValue) -> &'static str {
    match raw.get().as_bytes().first() {
        Some(b'-' | b'0'..=b'9') => "; quote the number",
        Some(b'n') => ", found null",
        _ => "",
    }
}

/// Returns the event's id for an idempotency key: a UUID in any notation is the id; of another text, the id is the UUID version 5 in the
/// namespace of the nil UUID.
fn event_id(text: &str) -> Uuid {
    Uuid::try_parse(text).unwrap_or_else(|_| uuid_v5(Uuid::nil(), text))
}

/// Returns the UUID version 5 of `name` in `namespace` (RFC 9562, section 5.5).
pub fn uuid_v5(namespace: Uuid, name: &str) -> Uuid {
    let input = [namespace.as_bytes(), name.as_bytes()].concat();
    let mut bytes = uuid::Bytes::default();
    bytes.copy_from_slice(&digest(&SHA1_FOR_LEGACY_USE_ONLY, &input).as_ref()[..size_of::<Uuid>()]);
    uuid::Builder::from_sha1_bytes(bytes).into_uuid()
}

fn missing(field: &'static str) -> Problem {
    (field, "missing".to_owned())
}

#[cfg(test)]
mod tests;
