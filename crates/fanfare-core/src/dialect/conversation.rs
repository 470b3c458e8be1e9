//! One connection's side of a client protocol, as a state machine without sockets and without a clock; and how one begins.

use std::{borrow::Cow, fmt, sync::Arc, time::Duration, time::SystemTime};

use bytes::Bytes;
use uuid::Uuid;

use crate::{Audience, Channel, Denial, DialectFacts, Ending, Identity, Member, RawJson, Subscription};

/// Begins conversations, and decides what a connection receives without a subscription.
pub trait Converse: Send + Sync {
    /// Returns the conversation of a new connection; `name` is the connection's, if connections have names.
    fn converse(&self, name: Option<&str>) -> Box<dyn Conversation>;

    /// Which events a connection receives that are on no channel.
    fn hears(&self) -> Hearing;

    /// How long a user stays in its rooms after a connection was lost: one that ended without [`Command::Leave`], without a
    /// close frame of its client, and not by the server's decision.
    fn leave_grace(&self) -> Duration {
        Duration::ZERO
    }
}

/// Which events a connection receives that are on no channel.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Hearing {
    /// Events for the connection's user.
    pub user: Hears,
    /// Events for everyone.
    pub everyone: Hears,
}

/// See [`Hearing`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Hears {
    /// All of them.
    Always,
    /// All of them while it is subscribed to the channel that shows them: the user's personal one, or
    /// [`EVERYONE_CHANNEL`](crate::EVERYONE_CHANNEL).
    Subscribed,
    /// None.
    Never,
}

impl Hearing {
    /// Events for the user and for everyone alike.
    pub const fn both(hears: Hears) -> Self {
        Self {
            user: hears,
            everyone: hears,
        }
    }
}

/// One connection's side of the protocol: messages and answers in, [`Step`]s out.
///
/// While something it asked for ([`Step::Ask`]) is unanswered, it is handed no message: what a client sends is worked
/// off in order, so a conversation needs to remember no more than what it is about now.
pub trait Conversation: Send {
    /// The connection is open. What is published from now on comes after what is sent here.
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

    /// The oldest open command was done, or denied. A subscription, a room and an identity hold from this call on: no event that
    /// comes of it is sent before the steps of this call.
    fn answered(&mut self, _answer: Result<Outcome, Denial>, _context: &Context<'_>, _steps: &mut Steps) {}

    /// The time set by [`Step::Timer`] is over.
    fn timer(&mut self, _context: &Context<'_>, _steps: &mut Steps) {}

    /// The credential's time is over. Unless the conversation pauses or closes, the connection would live on.
    fn expired(&mut self, _context: &Context<'_>, steps: &mut Steps) {
        steps.push(Step::End(Ending::TokenExpired));
    }

    /// The credential of [`Command::SubscribeBy`] has expired, and the subscription to `channel` has ended.
    fn lapsed(&mut self, _channel: &Channel, _context: &Context<'_>, _steps: &mut Steps) {}

    /// A message was dropped, unread, because the client sends more of them than it may.
    fn limited(&mut self, _context: &Context<'_>, _steps: &mut Steps) {}
}

/// What a conversation may know at each call.
#[derive(Debug, Clone, Copy)]
pub struct Context<'a> {
    /// The time, for display; it may jump.
    pub now: SystemTime,
    /// The connection's id, unlike any other's in the cluster.
    pub connection: Uuid,
    /// Who the connection proved to be, until the credential expired.
    pub identity: Option<&'a Arc<Identity>>,
}

/// A message from a client, put together from its fragments.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Message<'a> {
    /// UTF-8 text.
    Text(&'a str),
    /// Anything else.
    Binary(&'a [u8]),
}

/// What a conversation wants done, in order.
pub type Steps = Vec<Step>;

/// One thing a conversation wants done.
#[derive(Debug, Clone, PartialEq)]
pub enum Step {
    /// Send this text to the client.
    SendText(Bytes),
    /// Send these bytes to the client.
    SendBinary(Bytes),
    /// Do this, then call [`Conversation::answered`].
    Ask(Command),
    /// The client has asked whether the server is there, or answered whether it is itself, in its protocol's own words:
    /// that counts as an answered WebSocket ping.
    Pinged,
    /// Call [`Conversation::timer`] in that time; in place of an earlier wish. `None`: do not.
    Timer(Option<Duration>),
    /// Send no events until a credential is accepted again; what is published meanwhile is not kept.
    Pause,
    /// Close the connection with this code and reason (at most 123 bytes).
    Close(u16, Cow<'static, str>),
    /// End the connection for a reason of the server's own, in the dialect's words.
    End(Ending),
}

/// What a conversation can ask for.
#[derive(Debug, Clone, PartialEq)]
pub enum Command {
    /// Verify this token and let the connection be its user from now on. A connection that was somebody stays that
    /// user: only its time is extended. Answered by [`Outcome::Authenticated`].
    Authenticate(Token),
    /// Send the connection what is published there. Each is judged by itself, or, if `whole`, one that is not allowed
    /// refuses all. What is subscribed to already is confirmed. Answered by [`Outcome::Subscribed`].
    Subscribe {
        /// What to hear.
        to: Vec<Subscription>,
        /// All or nothing.
        whole: bool,
    },
    /// Like `Subscribe`, of one channel that the connection may not read by itself: this token, which must be of the
    /// connection's user, is judged in place of the connection's own. The subscription ends with it
    /// ([`Conversation::lapsed`]). Answered by [`Outcome::Subscribed`].
    SubscribeBy {
        /// What to receive.
        channel: Channel,
        /// The credential.
        credential: Token,
    },
    /// Send it no more. What is not subscribed to is confirmed. Answered by [`Outcome::Unsubscribed`].
    Unsubscribe(Vec<Subscription>),
    /// Enter a room. A connection that is in it already is confirmed. Answered by [`Outcome::Joined`].
    Join {
        /// The room.
        room: Channel,
        /// Whether [`Outcome::Joined`] lists the room's members, unless there are too many.
        wants_members: bool,
    },
    /// Leave a room. Answered by [`Outcome::Left`], or [`Denial::NotMember`].
    Leave(Channel),
    /// Publish, sent by this connection. Answered by [`Outcome::Published`].
    Publish(Draft),
    /// Tell the dialect's figures. Answered by [`Outcome::Facts`].
    Facts,
}

/// A token that a client sent. It does not show itself.
#[derive(Clone, PartialEq, Eq)]
pub struct Token(pub Box<str>);

/// An event as a client wants it published. Id, sender and time are added by the server.
#[derive(Debug, Clone, PartialEq)]
pub struct Draft {
    /// A channel, or one user. To a user it is answered only when it is known whether somebody received it.
    pub to: Audience,
    /// The event's type.
    pub kind: Option<Box<str>>,
    /// What is said.
    pub data: RawJson,
    /// What is said about it: a JSON object.
    pub metadata: Option<RawJson>,
    /// Who may say it there.
    pub right: Right,
    /// Whether the connection that publishes it receives it, too, if it is subscribed.
    pub echo: bool,
}

/// What a connection must have to publish.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Right {
    /// The right to publish on the channel.
    Rules,
    /// The same, and it must be in the room.
    Member,
}

/// What came of a [`Command`].
#[derive(Debug, Clone, PartialEq)]
pub enum Outcome {
    /// The connection is the credential's user; see [`Context::identity`].
    Authenticated,
    /// For each thing asked for, in order, whether it is heard now. All are, where `whole` was asked.
    Subscribed(Vec<Result<(), Denial>>),
    /// None of them is heard any more.
    Unsubscribed,
    /// The connection is in the room.
    Joined {
        /// The room's members, the connection's user included, if it asked for them and there are not too many. The room's events that follow fit to
        /// this list without a gap.
        members: Option<Vec<Member>>,
    },
    /// The connection is no longer in the room.
    Left,
    /// The event is on its way.
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
