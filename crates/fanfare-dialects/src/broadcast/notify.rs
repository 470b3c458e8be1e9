//! `POST /notify`: publishes an event for everyone, with the message and the fields of `data`.

use std::{borrow::Cow, time::SystemTime};

use bytes::Bytes;
use fanfare_core::{
    Audience, BadObject, Call, Event, HttpReply, Plan, RawJson, RawObject, Receipt, history::RESERVED_TYPES,
    string, timestamp,
};
use serde::Serialize;
use serde_json::value::{RawValue, to_raw_value};
use utoipa::ToSchema;

use crate::describe;

use super::{
    errors::{self, BroadcastError, RouteRefusals},
    fields::Fields,
    render::DEFAULT_TYPE,
};

pub(super) const PATH: &str = "/notify";

const MAX_TYPE: usize = 255;

struct Notification<'a> {
    message: &'a RawValue,
    kind: Cow<'a, str>,
    data: Option<(&'a RawValue, RawObject<'a>)>,
}

/// The body of a notification.
// For the `OpenAPI` document only; `Notification::read` parses it.
#[derive(Serialize, ToSchema)]
struct Request<'a> {
    message: &'a str,
    #[serde(rename = "type")]
    #[schema(min_length = 1, max_length = 255, default = "custom", nullable = false)]
    kind: Option<&'a str>,
    /// Further fields of the delivered data; `message` in it is ignored.
    #[schema(value_type = Option<Object>, nullable = false)]
    data: Option<&'a RawValue>,
}

/// Publishes an event for everyone.
//
// Publishes the body, or replies with its error.
#[utoipa::path(
    post,
    path = "/notify",
    operation_id = "notify",
    tag = "Notifications",
    request_body(
        content = inline(Request<'static>),
        example = json!({ "message": "Hello", "type": "alert", "data": { "priority": "high" } }),
    ),
    responses(
        (status = 200, description = "Published.", body = inline(NotifyReply<'static>)),
        (status = 400, description = "The body is invalid.", body = BroadcastError<'static>),
        (status = 403, description = "The API key does not have the scope publish.", body = BroadcastError<'static>),
        (status = 415, description = "The body is not JSON in UTF-8.", body = BroadcastError<'static>),
        RouteRefusals,
    ),
    security(("apiKey" = []), ("bearer" = []), ()),
)]
pub(super) fn plan(call: &Call<'_>) -> Plan {
    let planned = Notification::read(call.body).and_then(|notification| {
        let event = notification.event(call)?;
        Ok((event, notification.shown()))
    });
    let now = call.now;
    match planned {
        Ok((event, shown)) => Plan::Publish(
            Box::new(event),
            Box::new(move |receipt| answer(&shown, receipt, now)),
        ),
        Err(message) => Plan::Reply(errors::reply(&call.error(400, message))),
    }
}

fn answer(notification: &RawValue, receipt: Receipt, now: SystemTime) -> HttpReply {
    let reply = NotifyReply {
        status: Status::Success,
        message: "Notification sent successfully",
        recipients: receipt.reach.queued,
        degraded: receipt.degraded.then_some(true),
        notification,
        timestamp: timestamp(now).to_string(),
    };
    // Writing to memory, with names for keys, cannot fail.
    let body = serde_json::to_string(&reply).unwrap_or_default().into();
    HttpReply { status: 200, body }
}

/// The reply to a notification.
#[derive(Serialize, ToSchema)]
struct NotifyReply<'a> {
    #[schema(inline)]
    status: Status,
    message: &'static str,
    /// The number of connections on all nodes to which it was queued.
    recipients: u64,
    /// True if a node has not replied, or the broker was unavailable; otherwise left out.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(schema_with = describe::yes, required = false)]
    degraded: Option<bool>,
    #[schema(value_type = NotificationView<'static>, inline)]
    notification: &'a RawValue,
    #[schema(format = DateTime)]
    timestamp: String,
}

#[derive(Serialize, ToSchema)]
#[serde(rename_all = "lowercase")]
enum Status {
    Success,
}

/// The message and data as they were written.
#[derive(Serialize, ToSchema)]
struct NotificationView<'a> {
    #[schema(value_type = String)]
    message: &'a RawValue,
    #[serde(rename = "type")]
    kind: &'a str,
    #[schema(value_type = Object)]
    data: &'a RawValue,
}

impl<'a> Notification<'a> {
    fn read(body: &'a Bytes) -> Result<Self, &'static str> {
        let text = std::str::from_utf8(body).map_err(|_| "The body must be JSON")?;
        let body = RawObject::parse(text).map_err(|bad| match bad {
            BadObject::NotJson => "The body must be JSON",
            BadObject::NotAnObject => "The body must be a JSON object",
        })?;
        let message = body.get("message").ok_or("The field message is required")?;
        if !message.get().starts_with('"') {
            return Err("The field message must be a string");
        }
        let kind = body.get("type").map_or(Ok(DEFAULT_TYPE.into()), read_type)?;
        let data = body.get("data").map(read_data).transpose()?;
        Ok(Self { message, kind, data })
    }

    /// Returns the event's data. The message replaces a `message` inside `data`.
    fn event(&self, call: &Call<'_>) -> Result<Event, &'static str> {
        let mut merged = Fields::new().raw("message", self.message.get());
        for (name, value) in self.data.iter().flat_map(|(_, fields)| fields.iter()) {
            if name != "message" {
                merged = merged.raw(name, value.get());
            }
        }
        let data = RawJson::parse(&merged.done().into()).map_err(|_| "The body must be JSON")?;
        Ok(Event::new(Audience::Everyone, Some(&self.kind), data, call.now))
    }

    fn shown(&self) -> Box<RawValue> {
        let none = RawValue::from_string("{}".to_owned()).unwrap_or_default();
        let shown = NotificationView {
            message: self.message,
            kind: &self.kind,
            data: self.data.as_ref().map_or(&*none, |(raw, _)| raw),
        };
        to_raw_value(&shown).unwrap_or_default()
    }
}

fn read_type(raw: &RawValue) -> Result<Cow<'_, str>, &'static str> {
    let kind = string(raw).ok_or("The field type must be a string")?;
    match kind.len() {
        0 => Err("The field type must not be empty"),
        _ if RESERVED_TYPES.contains(&&*kind) => Err("The field type is reserved for the server"),
        1..=MAX_TYPE => Ok(kind),
        _ => Err("The field type must be at most 255 bytes"),
    }
}

fn read_data(raw: &RawValue) -> Result<(&RawValue, RawObject<'_>), &'static str> {
    let fields = RawObject::parse(raw.get()).map_err(|bad| match bad {
        BadObject::NotAnObject => "The field data must be an object",
        // The body is JSON, so this is a lone surrogate in a name.
        BadObject::NotJson => "The field data has a name that is not text",
    })?;
    Ok((raw, fields))
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use fanfare_core::RequestHead;

    use super::*;

    /// Cases that would be unreadable in a transcript.
    #[test]
    fn extreme_bodies_are_accepted_or_refused() {
        let nested = |depth: usize| {
            let value = format!("{}{}", "[".repeat(depth), "]".repeat(depth));
            format!(r#"{{"message":"m","data":{{"x":{value}}}}}"#)
        };
        let long = "x".repeat(1 << 20);
        let cases: [(Vec<u8>, Option<&str>); 7] = [
            (nested(126).into(), None),
            (nested(127).into(), Some("The body must be JSON")),
            (nested(10_000).into(), Some("The body must be JSON")),
            (b"{\"message\":\"\xff\"}".into(), Some("The body must be JSON")),
            (b"\xef\xbb\xbf{\"message\":\"m\"}".into(), None),
            (b"{\"message\":\"a\x00b\"}".into(), Some("The body must be JSON")),
            (format!(r#"{{"message":"{long}"}}"#).into(), None),
        ];
        for (body, expected) in cases {
            let (body, now, id) = (Bytes::from(body), SystemTime::UNIX_EPOCH, Uuid::nil());
            let plan = plan(&Call {
                path: PATH,
                head: RequestHead::new("", &|_| None),
                body: &body,
                now,
                id,
            });
            let refused = match &plan {
                Plan::Reply(reply) => serde_json::from_str(&reply.body).unwrap_or_default(),
                Plan::Publish(..) | Plan::Report { .. } => serde_json::Value::Null,
            };
            assert_eq!(
                refused["error"]["message"].as_str(),
                expected,
                "{:?}",
                &body[..body.len().min(40)]
            );
        }
    }
}
