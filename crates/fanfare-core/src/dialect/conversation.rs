//! One connection's side of a client protocol, as a state machine; and how it begins.

use std::{borrow::Cow, fmt, sync::Arc, time::Duration, time::SystemTime};

use bytes::Bytes;
use uuid::Uuid;

use super::{Opening, Rendering};
use crate::{
    Audience, Channel, Denial, DialectFacts, Ending, Identity, Member, RawJson, Subscription,
    history::{Resumption, Since},
};

/// Begins conversations, and decides what a connection receives without a subscription.
pub trait Converse: Send + Sync {
    /// Returns the conversation of a new connection; `name` is the connection's name, if connections have names.
    fn converse(&self, name: Option<&str>) -> Box<dyn Conversation>;

    /// Returns which events without a channel a connection receives.
    fn receives(&self) -> Reception;

    /// Returns how long a user stays in its rooms after a lost connection: one that ended without [`Command::Leave`],
    /// without a close frame of its client, and not by the server's decision.
    fn leave_grace(&self) -> Duration {
        Duration::ZERO
    }
}

/// Which events without a channel a connection receives.
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
    /// All of them.
    Always,
    /// All of them while it is subscribed to the channel that shows them: the user's personal one, or
    /// [`EVERYONE_CHANNEL`](crate::EVERYONE_CHANNEL).
    Subscribed,
    /// None.
    Never,
}

impl Reception {
    /// Returns the same answer for events for the user and for everyone.
    pub const fn both(receives: Receives) -> Self {
        Self {
            user: receives,
            everyone: receives,
        }
    }
}

/// One connection's side of the protocol: messages and answers in, [`Step`]s out. While a command ([`Step::Ask`]) is
/// open, it receives no message, so it has to remember one command at most.
pub trait Conversation: Send {
    /// The connection is open. Events that are published from now on follow the steps of this call.
    fn opened(&mut self, _context: &Context<'_>, _steps: &mut Steps) {}

    /// A whole message arrived.
    fn received(&mut self, message: Message<'_>, context: &Context<'_>, steps: &mut Steps) {
        match message {
            Message::Text(text) => self.text(text, context, steps),
            Message::Binary(bytes) => self.binary(bytes, context, steps),
        }
    }

    /// A text message arrived.
    fn text(&mut self, text: &str, context: &Context<'_>, steps: &mut Steps);

    /// A binary message arrived. Most protocols do not accept it.
    fn binary(&mut self, _bytes: &[u8], _context: &Context<'_>, steps: &mut Steps) {
        steps.push(Step::Close(1003, Cow::Borrowed("binary frames are not accepted")));
    }

    /// The oldest open command was done or denied. A subscription, a room and an identity hold from this call on: no
    /// event because of it is sent before the steps of this call.
    fn answered(&mut self, _answer: Result<Outcome, Denial>, _context: &Context<'_>, _steps: &mut Steps) {}

    /// The time set by [`Step::Timer`] is up.
    fn timer(&mut self, _context: &Context<'_>, _steps: &mut Steps) {}

    /// The credential expired. Unless the conversation pauses or closes, the connection lives on.
    fn expired(&mut self, _context: &Context<'_>, steps: &mut Steps) {
        steps.push(Step::End(Ending::TokenExpired));
    }

    /// The credential of [`Command::SubscribeBy`] has expired, and the subscription to `channel` has ended.
    fn lapsed(&mut self, _channel: &Channel, _context: &Context<'_>, _steps: &mut Steps) {}

    /// The missed events have been sent, including those published during the replay. From here on events are live.
    fn caught_up(&mut self, _context: &Context<'_>, _steps: &mut Steps) {}

    /// A message was dropped unread, because the client exceeds its rate of messages.
    fn limited(&mut self, _context: &Context<'_>, _steps: &mut Steps) {}
}

/// The facts that a conversation may use at each call.
#[derive(Debug, Clone, Copy)]
pub struct Context<'a> {
    /// The time, for display; it may jump.
    pub now: SystemTime,
    /// The connection's id, unique in the cluster.
    pub connection: Uuid,
    /// The verified identity of the connection, until its credential expires.
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
    /// Send this message to the client.
    Send(Rendering),
    /// Carry out this command, then call [`Conversation::answered`].
    Ask(Command),
    /// The client has sent its protocol's own ping or pong. It counts as an answered WebSocket ping.
    Pinged,
    /// Call [`Conversation::timer`] after that time, instead of at any time set before. `None` clears the timer.
    Timer(Option<Duration>),
    /// Send no events until a credential is accepted again; events that are published meanwhile are not queued.
    Pause,
    /// Close the connection with this code and reason (at most 123 bytes). A client that waits for its response gets a
    /// code from 400 to 599 as the status, with the reason as the message.
    Close(u16, Cow<'static, str>),
    /// End the connection for a reason of the server, with the dialect's text.
    End(Ending),
}

impl Step {
    /// Returns the step that sends this text.
    pub fn text(text: impl Into<Bytes>) -> Self {
        Self::Send(Rendering::Text(text.into()))
    }
}

/// A conversation's command to the server.
#[derive(Debug, Clone, PartialEq)]
pub enum Command {
    /// Verify this token and make the connection its user's. A connection that has a user keeps it: only its expiry
    /// moves. Answered by [`Outcome::Authenticated`].
    Authenticate(Token),
    /// Subscribe to each of these. Each is judged separately; with `whole`, one refusal refuses all. A subscription
    /// that exists is confirmed. Answered by [`Outcome::Subscribed`].
    Subscribe {
        /// The subscriptions.
        to: Vec<Subscription>,
        /// All or nothing.
        whole: bool,
        /// Also replay the missed events. They follow the steps of [`Conversation::answered`], and events that are
        /// published meanwhile follow them.
        resume: Option<Resume>,
    },
    /// Subscribe to one channel that the connection itself may not read: this token, which must be of the connection's
    /// user, is judged instead of the connection's own. The subscription ends with the token
    /// ([`Conversation::lapsed`]). Answered by [`Outcome::Subscribed`].
    SubscribeBy {
        /// The channel.
        channel: Channel,
        /// The credential.
        credential: Token,
    },
    /// Unsubscribe from these. A subscription that does not exist is confirmed. Answered by [`Outcome::Unsubscribed`].
    Unsubscribe(Vec<Subscription>),
    /// Join a room. A second join is confirmed. Answered by [`Outcome::Joined`].
    Join {
        /// The room.
        room: Channel,
        /// Whether [`Outcome::Joined`] lists the room's members, unless there are too many.
        wants_members: bool,
        /// Also replay the missed events of the room, as with [`Command::Subscribe`].
        resume: Option<Since>,
    },
    /// Replay the missed events of all that the connection receives. Answered by [`Outcome::Resumed`]. A connection
    /// that requested this in its handshake ([`Opening::resume`]) receives no event until this command is answered.
    Resume(Since),
    /// Leave a room. Answered by [`Outcome::Left`], or [`Denial::NotMember`].
    Leave(Channel),
    /// Publish this, as the connection's user. Answered by [`Outcome::Published`].
    Publish(Draft),
    /// Read the dialect's figures. Answered by [`Outcome::Facts`].
    Facts,
}

/// A client's request for missed events, together with its subscriptions.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Resume {
    /// The place from which to replay.
    pub since: Since,
    /// For all subscriptions of the connection; otherwise only for those in the same command.
    pub of_all: bool,
}

/// A token that a client sent. `Debug` does not show it.
#[derive(Clone, PartialEq, Eq)]
pub struct Token(pub Box<str>);

/// A client's event before publication. The server adds id, sender and time.
#[derive(Debug, Clone, PartialEq)]
pub struct Draft {
    /// A channel, or one user. A draft to a user is answered only when it is known whether the user received it.
    pub to: Audience,
    /// The event's type.
    pub kind: Option<Box<str>>,
    /// The event's data.
    pub data: RawJson,
    /// The event's metadata: a JSON object.
    pub metadata: Option<RawJson>,
    /// The right that the connection must have.
    pub right: Right,
    /// Whether the publishing connection also receives the event, if it is subscribed.
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
    /// For each subscription, in order, whether it holds now. With `whole`, all do.
    Subscribed(Vec<Result<(), Denial>>),
    /// The missed events are known; see [`Context::resumed`].
    Resumed,
    /// None of the subscriptions holds any more.
    Unsubscribed,
    /// The connection is in the room.
    Joined {
        /// The room's members, including the connection's user, if the command requests them and there are not too
        /// many. Later events continue from this list without a gap.
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
