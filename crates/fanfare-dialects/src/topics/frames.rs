//! Parses a client's messages: one JSON object each, with a `type`. Unknown fields are ignored.

use std::borrow::Cow;

use fanfare_core::{
    Audience, BadObject, Channel, Draft, MAX_DEPTH, RawJson, RawObject, Right, Subscription, Token,
    history::Since, string,
};
use serde_json::value::RawValue;

use super::{metadata, replies::FrameError};
use crate::text::excerpt;

/// The most topics in one message: as many as a connection may subscribe to by default.
const MAX_TOPICS: usize = 1000;
const MAX_EVENT_TYPE: usize = 255;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum FrameKind {
    Auth,
    Subscribe,
    Unsubscribe,
    Message,
    Ping,
}

/// A message of a known type. Its other fields are parsed when the type is allowed.
pub(super) struct Frame<'a> {
    pub(super) kind: FrameKind,
    fields: RawObject<'a>,
}

#[derive(Default)]
pub(super) struct TopicList {
    /// The names as the client wrote them, in order, or their errors.
    pub(super) names: Names,
    pub(super) valid: Vec<Subscription>,
}

/// The names of a [`TopicList`].
pub(super) type Names = Vec<Result<Box<str>, FrameError>>;

impl<'a> Frame<'a> {
    pub(super) fn parse(text: &'a str) -> Result<Self, FrameError> {
        let fields = RawObject::parse(text).map_err(|bad| match bad {
            BadObject::NotJson => {
                FrameError::in_field("frame", format!("not JSON, or nested deeper than {MAX_DEPTH}"))
            }
            BadObject::NotAnObject => FrameError::in_field("frame", "must be an object"),
        })?;
        let kind = match &*text_of("type", required(&fields, "type")?)? {
            "auth" => FrameKind::Auth,
            "subscribe" => FrameKind::Subscribe,
            "unsubscribe" => FrameKind::Unsubscribe,
            "message" => FrameKind::Message,
            "ping" => FrameKind::Ping,
            other => {
                let issue = format!("unknown type: {}", excerpt(other));
                return Err(FrameError::in_field("type", issue));
            }
        };
        Ok(Self { kind, fields })
    }

    /// Returns the token of an `auth`, which may be empty.
    pub(super) fn token(&self) -> Result<Token, FrameError> {
        let token = text_of("token", required(&self.fields, "token")?)?;
        Ok(Token(token.into()))
    }

    pub(super) fn since(&self) -> Option<Since> {
        Since::given(&self.fields)
    }

    pub(super) fn first_topics(&self) -> Result<TopicList, FrameError> {
        match self.fields.given("topics") {
            Some(_) => self.topics(),
            None => Ok(TopicList::default()),
        }
    }

    /// Returns the topics of a `subscribe` or `unsubscribe`: one, or a list.
    pub(super) fn topics(&self) -> Result<TopicList, FrameError> {
        let mut topics = TopicList::default();
        match (self.fields.given("topic"), self.fields.given("topics")) {
            (Some(_), Some(_)) => {
                return Err(FrameError::in_field("topics", "not together with topic"));
            }
            (None, Some(list)) => {
                for (place, name) in list_of(list)?.into_iter().enumerate() {
                    topics.add(name, format!("topics[{place}]"));
                }
            }
            (Some(name), None) => topics.add(name, "topic"),
            (None, None) => return Err(FrameError::in_field("topic", "required")),
        }
        Ok(topics)
    }

    pub(super) fn draft(&self) -> Result<(Channel, Draft), FrameError> {
        let channel = channel(&text_of("topic", required(&self.fields, "topic")?)?)?;
        let data = required(&self.fields, "data")?;
        let metadata = self.fields.given("metadata").map(|raw| {
            metadata::without_sender(raw.get()).map_err(|issue| FrameError::in_field("metadata", issue))
        });
        let draft = Draft {
            to: Audience::Channel(channel.clone()),
            kind: self.fields.given("eventType").map(event_type).transpose()?,
            data: RawJson::from_raw(data).map_err(|_| FrameError::in_field("data", "nested too deep"))?,
            metadata: metadata.transpose()?,
            right: Right::Rules,
            echo: true,
        };
        Ok((channel, draft))
    }
}

impl TopicList {
    fn add(&mut self, raw: &RawValue, field: impl Into<Cow<'static, str>>) {
        let name = text_of(field, raw).and_then(|name| {
            let subscription = Subscription::parse(&name).map_err(|bad| {
                FrameError::in_field("topic", format!("invalid pattern: {bad}")).about(&excerpt(&name))
            })?;
            self.valid.push(subscription);
            Ok(name.into())
        });
        self.names.push(name);
    }
}

fn required<'a>(fields: &RawObject<'a>, field: &'static str) -> Result<&'a RawValue, FrameError> {
    let value = fields.get(field);
    value.ok_or_else(|| FrameError::in_field(field, "required"))
}

fn text_of(field: impl Into<Cow<'static, str>>, raw: &RawValue) -> Result<Cow<'_, str>, FrameError> {
    string(raw).ok_or_else(|| {
        let is_text = raw.get().starts_with('"'); // with half a surrogate pair
        let expected = if is_text { "Unicode text" } else { "a string" };
        FrameError::in_field(field, format!("must be {expected}"))
    })
}

fn list_of(raw: &RawValue) -> Result<Vec<&RawValue>, FrameError> {
    let bad = |issue| Err(FrameError::in_field("topics", issue));
    match serde_json::from_str::<Vec<&RawValue>>(raw.get()) {
        Ok(list) if list.is_empty() => bad("must not be empty".to_owned()),
        Ok(list) if list.len() > MAX_TOPICS => bad(format!("more than {MAX_TOPICS} topics")),
        Ok(list) => Ok(list),
        Err(_) => bad("must be a list of strings".to_owned()),
    }
}

/// Returns the channel to publish on, if its name allows it.
fn channel(name: &str) -> Result<Channel, FrameError> {
    let bad = |issue: String| FrameError::in_field("topic", issue).about(&excerpt(name));
    match Subscription::parse(name) {
        Ok(Subscription::Channel(channel)) => Ok(channel),
        Ok(Subscription::Pattern(_)) => Err(bad("a message goes to one topic, not to a pattern".to_owned())),
        Ok(Subscription::Personal(_)) => Err(FrameError::forbidden(
            "clients do not publish on personal topics",
            name,
        )),
        Err(reason) => Err(bad(format!("invalid topic: {reason}"))),
    }
}

fn event_type(raw: &RawValue) -> Result<Box<str>, FrameError> {
    let kind = text_of("eventType", raw)?;
    if kind.is_empty() || kind.len() > MAX_EVENT_TYPE || kind.chars().any(char::is_control) {
        let issue = format!("must be 1 to {MAX_EVENT_TYPE} bytes without control characters");
        return Err(FrameError::in_field("eventType", issue));
    }
    Ok(kind.into())
}
