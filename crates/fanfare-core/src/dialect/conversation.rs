//! The state machine of a connection in a client protocol.

use std::{borrow::Cow, fmt, sync::Arc, time::Duration, time::SystemTime};

use bytes::Bytes;
use uuid::Uuid;

use super::{Opening, Rendering};
use crate::{
    Audience, Channel, Denial, DialectFacts, Ending, Identity, Member, RawJson, Subscription,
    history::{Resumption, Since},
};

/// Begins conversations, and decides which events a connection receives without a subscription.
pub trait Converse: Send + Sync {
    /// Returns the conversation of a new connection. `name` is the connection's name, if connections have names.
    fn converse(&self, name: Option<&str>) -> Box<dyn Conversation>;

    /// Returns the events without a channel that a connection receives.
    fn receives(&self) -> Reception;

    /// Returns the time for which a user stays in its rooms after the loss of a connection. A connection is lost if it ends
    /// without [`Command::Leave`], without a close frame of its client, and not by the server's decision.
    fn leave_grace(&self) -> Duration {
        Duration::ZERO
    }
}

/// The events without a channel that a connection receives.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Reception {
    /// Events for the connection's user.
    pub user: Receives,
    /// Events for everyone.
    pub everyone: Receives,
}

/// See [`Reception`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Receives {
    /// All of them, always.
    Always,
    /// All of them while it is subscribed to their channel: the user's personal one, or
    /// [`EVERYONE_CHANNEL`](crate::EVERYONE_CHANNEL).
    Subscribed,
    /// None.
    Never,
}

impl Reception {
    /// Returns the reception with `receives` for both kinds of events.
    pub const fn both(receives: Receives) -> Self {
        Self {
            user: receives,
            everyone: receives,
        }
    }
}

/// The state machine of a connection: messages and answers in, [`Step`]s out. While a command ([`Step::Ask`]) is open, it
/// receives no message, so it has at most one open command.
pub trait Conversation: Send {
    /// Is called when the connection is open. Later events follow the steps of this call.
    fn opened(&mut self, _context: &Context<'_>, _steps: &mut Steps) {}

    /// Handles a message.
    fn received(&mut self, message: Message<'_>, context: &Context<'_>, steps: &mut Steps) {
        match message {
            Message::Text(text) => self.text(text, context, steps),
            Message::Binary(bytes) => self.binary(bytes, context, steps),
        }
    }

    /// Handles a text message.
    fn text(&mut self, text: &str, context: &Context<'_>, steps: &mut Steps);

    /// Handles a binary message. Most protocols refuse it.
    fn binary(&mut self, _bytes: &[u8], _context: &Context<'_>, steps: &mut Steps) {
        steps.push(Step::Close(1003, Cow::Borrowed("binary frames are not accepted")));
    }

    /// Handles the answer to the oldest open command. A subscription, a room or an identity holds from this call on: none of
    /// its events is sent before the steps of this call.
    fn answered(&mut self, _answer: Result<Outcome, Denial>, _context: &Context<'_>, _steps: &mut Steps) {}

    /// Is called after the time of [`Step::Timer`].
    fn timer(&mut self, _context: &Context<'_>, _steps: &mut Steps) {}

    /// Is called when the credential has expired. The connection continues unless the conversation pauses or closes it.
    fn expired(&mut self, _context: &Context<'_>, steps: &mut Steps) {
        steps.push(Step::End(Ending::TokenExpired));
    }

    /// Is called when the subscription to `channel` has ended, because the credential of [`Command::SubscribeBy`] has
    /// expired.
    fn lapsed(&mut self, _channel: &Channel, _context: &Context<'_>, _steps: &mut Steps) {}

    /// Is called when all missed events have been sent, including those published during the replay.
    fn caught_up(&mut self, _context: &Context<'_>, _steps: &mut Steps) {}

    /// Is called when a message was dropped because the client exceeds its rate of messages.
    fn limited(&mut self, _context: &Context<'_>, _steps: &mut Steps) {}
}

/// The facts for a call of a conversation.
#[derive(Debug, Clone, Copy)]
pub struct Context<'a> {
    /// The time for display, which may jump.
    pub now: SystemTime,
    /// The connection's id, unique in the cluster.
    pub connection: Uuid,
    /// The verified identity; `None` for an anonymous connection, and after the credential has expired.
    pub identity: Option<&'a Arc<Identity>>,
    /// The client's requests in its handshake; only in [`Conversation::opened`].
    pub opening: Option<&'a Opening>,
    /// The answer to the `resume` of the answered command; only in [`Conversation::answered`].
    pub resumed: Option<&'a Resumption>,
}

impl<'a> Context<'a> {
    /// Returns the context of a call without a resume.
    pub fn new(now: SystemTime, connection: Uuid, identity: Option<&'a Arc<Identity>>) -> Self {
        Self {
            now,
            connection,
            identity,
            opening: None,
            resumed: None,
        }
    }
}

/// A message from a client, reassembled from its fragments.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Message<'a> {
    /// A text message.
    Text(&'a str),
    /// A binary message.
    Binary(&'a [u8]),
}

/// The actions that a conversation requests, in order.
pub type Steps = Vec<Step>;

/// One action that a conversation requests.
#[derive(Debug, Clone, PartialEq)]
pub enum Step {
    /// Send this message.
    Send(Rendering),
    /// Carry out this command, then call [`Conversation::answered`].
    Ask(Command),
    /// Count a ping or pong of the client's protocol like a WebSocket pong.
    Pinged,
    /// Call [`Conversation::timer`] after this time. It replaces the timer, and `None` clears it.
    Timer(Option<Duration>),
    /// Send no events until a credential is accepted again. Events are not queued meanwhile.
    Pause,
    /// Close the connection with this code and reason (at most 123 bytes). A client that waits for its response gets a code
    /// from 400 to 599 as the status, and the reason as the message.
    Close(u16, Cow<'static, str>),
    /// End the connection for this reason of the server.
    End(Ending),
}

impl Step {
    /// Returns a step that sends a text message.
    pub fn text(text: impl Into<Bytes>) -> Self {
        Self::Send(Rendering::Text(text.into()))
    }
}

/// A conversation's command to the server.
#[derive(Debug, Clone, PartialEq)]
pub enum Command {
    /// Verify this token, and set the connection's user. If the connection has a user already, only its expiry changes.
    /// Answered by [`Outcome::Authenticated`].
    Authenticate(Token),
    /// Subscribe to these. Each is judged separately; with `whole`, one refusal refuses all. An existing subscription is
    /// confirmed. Answered by [`Outcome::Subscribed`].
    Subscribe {
        /// The subscriptions.
        to: Vec<Subscription>,
        /// Whether one refusal refuses all.
        whole: bool,
        /// The replay of missed events. They follow the steps of [`Conversation::answered`], and new events follow them.
        resume: Option<Resume>,
    },
    /// Subscribe to a channel by the rights of another token of the connection's user. The subscription ends with that token
    /// ([`Conversation::lapsed`]). Answered by [`Outcome::Subscribed`].
    SubscribeBy {
        /// The channel.
        channel: Channel,
        /// The credential.
        credential: Token,
    },
    /// Unsubscribe from these. A missing subscription is confirmed. Answered by [`Outcome::Unsubscribed`].
    Unsubscribe(Vec<Subscription>),
    /// Join a room. A second join is confirmed. Answered by [`Outcome::Joined`].
    Join {
        /// The room.
        room: Channel,
        /// Whether [`Outcome::Joined`] lists the room's members.
        wants_members: bool,
        /// The replay of the room's missed events, as with [`Command::Subscribe`].
        resume: Option<Since>,
    },
    /// Replay the missed events of all audiences of the connection. If the handshake requested it ([`Opening::resume`]), the
    /// connection receives no event until this command is answered. Answered by [`Outcome::Resumed`].
    Resume(Since),
    /// Leave a room. Answered by [`Outcome::Left`], or [`Denial::NotMember`].
    Leave(Channel),
    /// Publish this, as the connection's user. Answered by [`Outcome::Published`].
    Publish(Draft),
    /// Read the dialect's figures. Answered by [`Outcome::Facts`].
    Facts,
}

/// A client's request for missed events with a subscription.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Resume {
    /// The place from which to replay.
    pub since: Since,
    /// Whether it is for all subscriptions of the connection, instead of those in the command.
    pub of_all: bool,
}

/// A client's token. `Debug` does not show it.
#[derive(Clone, PartialEq, Eq)]
pub struct Token(pub Box<str>);

/// A client's event before publication. The server adds id, sender and time.
#[derive(Debug, Clone, PartialEq)]
pub struct Draft {
    /// A channel or a user. A draft to a user is answered when the server knows whether the user received it.
    pub to: Audience,
    /// The event's type.
    pub kind: Option<Box<str>>,
    /// The event's data.
    pub data: RawJson,
    /// The event's metadata: a JSON object.
    pub metadata: Option<RawJson>,
    /// The required right.
    pub right: Right,
    /// Whether the publishing connection receives the event, if it is subscribed.
    pub echo: bool,
}

/// The condition under which a connection may publish.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Right {
    /// The right to publish on the channel.
    Rules,
    /// The same, and the connection must be in the room.
    Member,
}

/// The result of a [`Command`] that was not denied.
#[derive(Debug, Clone, PartialEq)]
pub enum Outcome {
    /// The connection is the credential's user; see [`Context::identity`].
    Authenticated,
    /// The result of each subscription, in order. With `whole`, all of them hold.
    Subscribed(Vec<Result<(), Denial>>),
    /// The missed events are known; see [`Context::resumed`].
    Resumed,
    /// The subscriptions have ended.
    Unsubscribed,
    /// The connection is in the room.
    Joined {
        /// The room's members, including the connection's user, if the command requests them and they are not too many.
        /// Later events continue from this list without a gap.
        members: Option<Vec<Member>>,
    },
    /// The connection is no longer in the room.
    Left,
    /// The event was published.
    Published {
        /// The event's id.
        id: Uuid,
    },
    /// The dialect's figures.
    Facts(DialectFacts),
}

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Token(…)")
    }
}
