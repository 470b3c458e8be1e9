//! How our own command line listens to a server: as a client of a dialect that can hear what is asked for. The dialect
//! says what to send and how to read what comes; the command knows sockets and no dialect.

use form_urlencoded::Serializer;

/// What somebody wants to hear.
#[derive(Debug, Clone, Copy, Default)]
pub struct Listening<'a> {
    /// Who they are; without a token, nobody.
    pub token: Option<&'a str>,
    /// Whether they want what is for their user, and what is for everyone.
    pub own: bool,
    /// The channels they want to hear, by name or pattern.
    pub channels: &'a [String],
}

/// How a client of a dialect comes to hear it.
#[derive(Debug, Clone)]
pub struct ListenPlan {
    /// The request target of the upgrade: path and query.
    pub target: String,
    /// Text messages to send when the connection is open, in order.
    pub frames: Vec<String>,
    /// How many [`Heard::Confirmed`] come before all of it is heard.
    pub confirmations: usize,
    /// Tells what a text message from the server is.
    pub hear: fn(&str) -> Heard,
}

/// What a text message from the server is to one who listens.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Heard {
    /// An event.
    Event,
    /// Part of what was asked for is granted.
    Confirmed,
    /// The server says no, in these words.
    Refused(String),
    /// A welcome, a ping and the like.
    Other,
}

impl ListenPlan {
    /// A client who only connects, to `path` with these query parameters.
    pub fn connect(path: &str, query: &[(&str, &str)], hear: fn(&str) -> Heard) -> Self {
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
            hear,
        }
    }
}
