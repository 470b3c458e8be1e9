//! `POST /notify`: a service tells everyone something.
//!
//! What goes out is one object of the message and the fields of `data`, whose values are carried over as they were
//! written.

use std::borrow::Cow;

use bytes::Bytes;
use fanfare_core::{
    Audience, BadObject, Call, Event, HttpError, HttpReply, Plan, RawJson, RawObject, string, timestamp,
};
use serde_json::{Value, json, value::RawValue};

use super::{failures, fields::Fields, messages::DEFAULT_TYPE};

/// The path of the route.
pub(super) const PATH: &str = "/notify";

/// The longest `type`, in bytes.
const MAX_TYPE: usize = 255;

/// A request's body, taken apart.
struct Notification<'a> {
    /// A JSON string.
    message: &'a RawValue,
    kind: Cow<'a, str>,
    data: Option<RawObject<'a>>,
}

/// Publishes what the body says, or tells what is wrong with it.
pub(super) fn plan(call: &Call<'_>) -> Plan {
    let planned = Notification::read(call.body).and_then(|notification| {
        let event = notification.event(call)?;
        Ok((event, notification.answer(call)))
    });
    let (event, mut answer) = match planned {
        Ok(planned) => planned,
        Err(message) => {
            let (status, id, now) = (400, call.id, call.now);
            return Plan::Reply(failures::reply(&HttpError {
                status,
                message,
                id,
                now,
            }));
        }
    };
    Plan::Publish(
        Box::new(event),
        Box::new(move |receipt| {
            answer["recipients"] = receipt.reach.queued.into();
            if receipt.degraded {
                answer["degraded"] = true.into();
            }
            HttpReply {
                status: 200,
                body: answer,
            }
        }),
    )
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

    /// What goes out. A `message` within `data` gives way to the message itself.
    fn event(&self, call: &Call<'_>) -> Result<Event, &'static str> {
        let mut merged = Fields::new().raw("message", self.message.get());
        for (name, value) in self.data.iter().flat_map(RawObject::iter) {
            if name != "message" {
                merged = merged.raw(name, value.get());
            }
        }
        let data = RawJson::parse(&merged.done().into()).map_err(|_| "The body must be JSON")?;
        Ok(Event::new(Audience::Everyone, Some(&self.kind), data, call.now))
    }

    /// What the caller is told, but for the number of recipients.
    fn answer(&self, call: &Call<'_>) -> Value {
        let data = self.data.iter().flat_map(RawObject::iter);
        let data: Value = data.map(|(name, value)| (name, shown(value))).collect();
        json!({
            "status": "success",
            "message": "Notification sent successfully",
            "notification": { "message": shown(self.message), "type": self.kind, "data": data },
            "timestamp": timestamp(call.now).to_string(),
        })
    }
}

fn read_type(raw: &RawValue) -> Result<Cow<'_, str>, &'static str> {
    let kind = string(raw).ok_or("The field type must be a string")?;
    match kind.len() {
        0 => Err("The field type must not be empty"),
        1..=MAX_TYPE => Ok(kind),
        _ => Err("The field type must be at most 255 bytes"),
    }
}

fn read_data(raw: &RawValue) -> Result<RawObject<'_>, &'static str> {
    RawObject::parse(raw.get()).map_err(|bad| match bad {
        BadObject::NotAnObject => "The field data must be an object",
        // The body was JSON, so this is half a surrogate pair in a name.
        BadObject::NotJson => "The field data has a name that is not text",
    })
}

/// A value as the answer shows it. What does not fit in memory as JSON (a number beyond all bounds, half a surrogate
/// pair) went out as it was written, and is shown as a string of that.
fn shown(raw: &RawValue) -> Value {
    serde_json::from_str(raw.get()).unwrap_or_else(|_| raw.get().into())
}

#[cfg(test)]
mod tests {
    use std::time::SystemTime;

    use uuid::Uuid;

    use super::*;

    /// What would not be readable in a transcript.
    #[test]
    fn absurd_bodies() {
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
            (
                b"\xef\xbb\xbf{\"message\":\"m\"}".into(),
                Some("The body must be JSON"),
            ),
            (b"{\"message\":\"a\x00b\"}".into(), Some("The body must be JSON")),
            (format!(r#"{{"message":"{long}"}}"#).into(), None),
        ];
        for (body, expected) in cases {
            let (body, now, id) = (Bytes::from(body), SystemTime::UNIX_EPOCH, Uuid::nil());
            let plan = plan(&Call {
                path: PATH,
                body: &body,
                now,
                id,
            });
            let refused = match &plan {
                Plan::Reply(reply) => reply.body["error"]["message"].as_str(),
                Plan::Publish(..) | Plan::Report { .. } => None,
            };
            assert_eq!(refused, expected, "{:?}", &body[..body.len().min(40)]);
        }
    }
}
