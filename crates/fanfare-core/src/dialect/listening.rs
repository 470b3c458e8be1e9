//! The port to `fanfare listen`, a client of any dialect. The dialect decides which messages it sends and how it reads
//! replies; the command has the socket.

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

/// The actions of a client that receives these events in a dialect.
#[derive(Debug, Clone)]
pub struct ListenPlan {
    /// The request target of the upgrade: path and query.
    pub target: String,
    /// Text messages to send when the connection is open, in order.
    pub frames: Vec<String>,
    /// The number of [`ListenMessage::Confirmed`] until all subscriptions hold.
    pub confirmations: usize,
    /// Classifies a text message from the server.
    pub classify: fn(&str) -> ListenMessage,
}

/// The kind of a text message from the server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ListenMessage {
    /// An event.
    Event,
    /// A confirmation of a subscription.
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
