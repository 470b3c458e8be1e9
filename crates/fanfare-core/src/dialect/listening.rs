//! How `fanfare listen` receives events: as a client of a dialect that can deliver them. The dialect decides what to
//! send and how to read what arrives; the command handles sockets and knows no dialect.

use form_urlencoded::Serializer;

/// The events that `fanfare listen` should receive.
#[derive(Debug, Clone, Copy, Default)]
pub struct Listening<'a> {
    /// The user's token; `None` for an anonymous client.
    pub token: Option<&'a str>,
    /// Whether to receive the events for the user and for everyone.
    pub own: bool,
    /// The channels, by name or pattern.
    pub channels: &'a [String],
}

/// How a client of a dialect receives them.
#[derive(Debug, Clone)]
pub struct ListenPlan {
    /// The request target of the upgrade: path and query.
    pub target: String,
    /// Text messages to send when the connection is open, in order.
    pub frames: Vec<String>,
    /// The number of [`ListenMessage::Confirmed`] until everything is subscribed.
    pub confirmations: usize,
    /// Classifies a text message from the server.
    pub classify: fn(&str) -> ListenMessage,
}

/// The kinds of text messages from the server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ListenMessage {
    /// An event.
    Event,
    /// The confirmation of a subscription.
    Confirmed,
    /// A refusal, with its text.
    Refused(String),
    /// Any other message, such as a welcome or a ping.
    Other,
}

impl ListenPlan {
    /// Returns the plan of a client that only connects, to `path` with these query parameters.
    pub fn connect(path: &str, query: &[(&str, &str)], classify: fn(&str) -> ListenMessage) -> Self {
        let target = if query.is_empty() {
            path.to_owned()
        } else {
            let query = Serializer::new(String::new()).extend_pairs(query).finish();
            format!("{path}?{query}")
        };
        Self {
            target,
            frames: Vec::new(),
            confirmations: 0,
            classify,
        }
    }
}
