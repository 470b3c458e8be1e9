//! `POST /line/{app}/{channel}?type=…`: publishes the body, JSON, on the channel; `X-Sender` names the sender.

use fanfare_core::{Audience, Call, Channel, Endpoint, Event, HttpReply, Plan, RawJson, Respond, Sender};
use serde_json::json;

use super::Line;

impl Respond for Line {
    fn endpoints(&self) -> &'static [Endpoint] {
        &[Endpoint {
            method: "POST",
            path: "/line/{app}/{channel}",
            guarded: true,
        }]
    }

    fn call(&self, call: &Call<'_>) -> Plan {
        match self.event(call) {
            Ok(event) => Plan::Publish(
                Box::new(event),
                Box::new(|receipt| HttpReply::json(200, &json!({ "reached": receipt.reach.queued }))),
            ),
            Err((status, message)) => Plan::Reply(self.fail(&call.error(status, message))),
        }
    }
}

impl Line {
    fn event(&self, call: &Call<'_>) -> Result<Event, (u16, &'static str)> {
        if !self.has_app(call.head.path_parameter("app")) {
            return Err((404, "no such app"));
        }
        let name = call.head.path_parameter("channel").unwrap_or_default();
        let channel = Channel::new(name).map_err(|_| (400, "bad channel"))?;
        let data = RawJson::parse(call.body).map_err(|_| (400, "bad data"))?;
        let kind = call.head.parameter("type");
        Ok(Event {
            sender: call.head.header("x-sender").map(Sender::new),
            ..Event::new(Audience::Channel(channel), kind.as_deref(), data, call.now)
        })
    }
}
