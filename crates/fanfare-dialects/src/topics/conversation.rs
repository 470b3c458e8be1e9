//! One connection: anonymous until a token is accepted, then a user's until that token expires. Then it waits for
//! another token of the same user.

use std::{borrow::Cow, mem, sync::Arc};

use fanfare_core::{
    Channel, Command, Context, Conversation, Converse, Denial, Ending, Outcome, Receives, Reception, Resume,
    Step, Steps,
    history::{Resumption, Since},
};

use super::{
    frames::{Frame, FrameKind, Names, TopicList},
    options::AuthTimeouts,
    replies::{FrameError, Reply},
};

/// The close reason if no new token follows an expired one.
const TOKEN_EXPIRED: &str = "token expired";
/// The close reason if the user has its maximum of connections.
pub(super) const TOO_MANY_OF_USER: &str = "too many connections of this user";

impl Converse for super::Topics {
    fn converse(&self, _name: Option<&str>) -> Box<dyn Conversation> {
        Box::new(Client::new(Arc::clone(&self.0)))
    }

    fn receives(&self) -> Reception {
        Reception::both(Receives::Subscribed)
    }
}

pub(super) struct Client {
    phase: Phase,
    pending: Pending,
    timeouts: Arc<AuthTimeouts>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    New,
    Authenticated,
    /// The token of this user's connection has expired.
    Expired,
}

/// The open command, and the values for its reply.
#[derive(Default)]
enum Pending {
    #[default]
    Nothing,
    /// The requests to make after the token is accepted.
    Authenticate(Option<Box<AuthRequests>>),
    /// The subscriptions of an `auth`, after its token was accepted.
    SubscribeAfterAuth(Names),
    Subscribe(Names),
    Unsubscribe(Names),
    Publish(Channel),
}

/// The requests of an `auth` besides its token.
struct AuthRequests {
    topics: TopicList,
    since: Option<Since>,
}

impl AuthRequests {
    fn of(frame: &Frame<'_>) -> Result<Option<Box<Self>>, FrameError> {
        let (topics, since) = (frame.first_topics()?, frame.since());
        let has_requests = since.is_some() || !topics.names.is_empty();
        Ok(has_requests.then(|| Box::new(Self { topics, since })))
    }
}

impl Client {
    pub(super) fn new(timeouts: Arc<AuthTimeouts>) -> Self {
        Self {
            phase: Phase::New,
            pending: Pending::Nothing,
            timeouts,
        }
    }

    fn read(&mut self, text: &str, context: &Context<'_>, steps: &mut Steps) -> Result<(), FrameError> {
        let frame = Frame::parse(text)?;
        match frame.kind {
            FrameKind::Ping => steps.extend([Step::Pinged, Reply::Pong.at(context.now)]),
            FrameKind::Auth => {
                let pending = Pending::Authenticate(AuthRequests::of(&frame)?);
                self.ask(Command::Authenticate(frame.token()?), pending, steps);
            }
            FrameKind::Subscribe => {
                let TopicList { names, valid: to } = self.authenticated(&frame)?.topics()?;
                let whole = false;
                let resume = frame.since().map(|since| Resume { since, of_all: false });
                let command = (!to.is_empty()).then_some(Command::Subscribe { to, whole, resume });
                self.ask_or_answer(command, Pending::Subscribe(names), context, steps);
            }
            FrameKind::Unsubscribe => {
                let TopicList { names, valid: from } = self.authenticated(&frame)?.topics()?;
                let command = (!from.is_empty()).then_some(Command::Unsubscribe(from));
                self.ask_or_answer(command, Pending::Unsubscribe(names), context, steps);
            }
            FrameKind::Message => {
                let (channel, draft) = self.authenticated(&frame)?.draft()?;
                self.ask(Command::Publish(draft), Pending::Publish(channel), steps);
            }
        }
        Ok(())
    }

    fn authenticated<'f, 'a>(&self, frame: &'f Frame<'a>) -> Result<&'f Frame<'a>, FrameError> {
        match self.phase {
            Phase::Authenticated => Ok(frame),
            Phase::New => Err(FrameError::unauthorized("Authentication required")),
            Phase::Expired => Err(FrameError::unauthorized("Token expired")),
        }
    }

    fn ask(&mut self, command: Command, pending: Pending, steps: &mut Steps) {
        self.pending = pending;
        steps.push(Step::Ask(command));
    }

    /// Sends `command`, or replies at once if it is `None` because no name is valid.
    fn ask_or_answer(
        &mut self,
        command: Option<Command>,
        pending: Pending,
        context: &Context<'_>,
        steps: &mut Steps,
    ) {
        if let Some(command) = command {
            return self.ask(command, pending, steps);
        }
        self.pending = pending;
        self.answered(Ok(Outcome::Subscribed(Vec::new())), context, steps);
    }

    /// Marks the connection as authenticated. The client's other requests go to the server before the reply.
    fn accept(&mut self, requests: Option<Box<AuthRequests>>, context: &Context<'_>, steps: &mut Steps) {
        if context.identity.is_none() {
            return steps.push(Step::End(Ending::InternalError));
        }
        self.phase = Phase::Authenticated;
        steps.push(Step::Timer(None));
        let Some(AuthRequests { topics, since }) = requests.map(|requests| *requests) else {
            return steps.push(success(context));
        };
        let command = Command::Subscribe {
            to: topics.valid,
            whole: false,
            resume: since.map(|since| Resume { since, of_all: true }),
        };
        self.ask(command, Pending::SubscribeAfterAuth(topics.names), steps);
    }
}

impl Conversation for Client {
    fn opened(&mut self, _context: &Context<'_>, steps: &mut Steps) {
        steps.push(Step::Timer(Some(self.timeouts.auth_timeout)));
    }

    fn text(&mut self, text: &str, context: &Context<'_>, steps: &mut Steps) {
        if let Err(problem) = self.read(text, context, steps) {
            steps.push(Reply::Error(&problem).at(context.now));
        }
    }

    fn answered(&mut self, answer: Result<Outcome, Denial>, context: &Context<'_>, steps: &mut Steps) {
        match (mem::take(&mut self.pending), answer) {
            (Pending::Nothing, _) | (Pending::Publish(_), Ok(_)) => {}
            (Pending::Authenticate(requests), Ok(_)) => self.accept(requests, context, steps),
            (Pending::SubscribeAfterAuth(names), answer) => {
                steps.push(success(context));
                // The reply to the token has the answer to the resume.
                let context = &Context {
                    resumed: None,
                    ..*context
                };
                reply_to_each(names, answer, context, steps, subscribed);
            }
            (Pending::Authenticate(_), Err(denial)) => steps.push(rejected(denial, context)),
            (Pending::Subscribe(names), answer) => {
                reply_to_each(names, answer, context, steps, subscribed);
            }
            (Pending::Unsubscribe(names), answer) => {
                reply_to_each(names, answer, context, steps, unsubscribed);
            }
            (Pending::Publish(channel), Err(denial)) => {
                steps.push(Reply::Error(&FrameError::denied(denial, &channel)).at(context.now));
            }
        }
    }

    fn timer(&mut self, _context: &Context<'_>, steps: &mut Steps) {
        match self.phase {
            Phase::New => steps.push(close(1008, "authentication timeout")),
            Phase::Expired => steps.push(close(1008, TOKEN_EXPIRED)),
            Phase::Authenticated => {}
        }
    }

    fn expired(&mut self, context: &Context<'_>, steps: &mut Steps) {
        self.phase = Phase::Expired;
        steps.push(Step::Pause);
        steps.push(Reply::unauthenticated("Token expired").at(context.now));
        steps.push(Step::Timer(Some(self.timeouts.reauth_grace)));
    }

    fn limited(&mut self, context: &Context<'_>, steps: &mut Steps) {
        steps.push(Reply::Error(&FrameError::limited()).at(context.now));
    }
}

/// Returns the result for each of `count` names, in order.
fn results(answer: Result<Outcome, Denial>, count: usize) -> Vec<Result<(), Denial>> {
    match answer {
        Ok(Outcome::Subscribed(results)) => results,
        answer => vec![answer.map(drop); count],
    }
}

fn success(context: &Context<'_>) -> Step {
    let Some(identity) = context.identity else {
        return Step::End(Ending::InternalError);
    };
    let (user_id, resume) = (&*identity.user, context.resumed);
    Reply::AuthSuccess { user_id, resume }.at(context.now)
}

/// Sends a reply for each name in order; `answer` has the results of the valid names.
fn reply_to_each(
    names: Names,
    answer: Result<Outcome, Denial>,
    context: &Context<'_>,
    steps: &mut Steps,
    confirmed: for<'a> fn(&'a str, Option<&'a Resumption>) -> Reply<'a>,
) {
    let mut results = results(answer, names.len()).into_iter();
    for name in names {
        let result = name.and_then(|name| match results.next() {
            Some(Ok(())) => Ok(name),
            Some(Err(denial)) => Err(FrameError::denied(denial, &name)),
            None => Err(FrameError::denied(Denial::Forbidden, &name)), // a name without a result is not confirmed
        });
        let reply = match &result {
            Ok(name) => confirmed(name, context.resumed),
            Err(problem) => Reply::Error(problem),
        };
        steps.push(reply.at(context.now));
    }
}

fn subscribed<'a>(topic: &'a str, resume: Option<&'a Resumption>) -> Reply<'a> {
    Reply::Subscribed { topic, resume }
}

fn unsubscribed<'a>(topic: &'a str, _: Option<&'a Resumption>) -> Reply<'a> {
    Reply::Unsubscribed { topic }
}

fn rejected(denial: Denial, context: &Context<'_>) -> Step {
    let message = match denial {
        Denial::ExpiredCredential => "Token expired",
        Denial::OtherUser => "Token belongs to another user",
        Denial::UserAtCapacity => return close(1008, TOO_MANY_OF_USER),
        Denial::KeysUnavailable => return close(1013, "try again later"),
        Denial::BadCredential
        | Denial::Forbidden
        | Denial::TooManySubscriptions
        | Denial::NotMember
        | Denial::ReservedType
        | Denial::NotConnected => "Invalid token",
    };
    Reply::unauthenticated(message).at(context.now)
}

fn close(code: u16, reason: &'static str) -> Step {
    Step::Close(code, Cow::Borrowed(reason))
}
