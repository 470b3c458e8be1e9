//! One connection: anonymous until a token is accepted, then a user's until that token expires, then waiting
//! for another token of the same user.

use std::{borrow::Cow, mem, sync::Arc};

use fanfare_core::{
    Channel, Command, Context, Conversation, Converse, Denial, Ending, Outcome, Receives, Reception, Resume,
    Step, Steps,
    history::{Resumption, Since},
};

use super::{
    frames::{Frame, FrameKind, Names, Topics},
    options::AuthTimeouts,
    replies::{FrameError, Reply},
};

/// The close reason if no new token follows an expired one.
const TOKEN_EXPIRED: &str = "token expired";
/// The close reason if the user has its maximum of connections.
pub(super) const TOO_MANY_OF_USER: &str = "too many connections of this user";

impl Converse for super::Topics {
    fn converse(&self, _name: Option<&str>) -> Box<dyn Conversation> {
        Box::new(Talk::new(Arc::clone(&self.0)))
    }

    fn receives(&self) -> Reception {
        Reception::both(Receives::Subscribed)
    }
}

pub(super) struct Talk {
    phase: Phase,
    asked: Asked,
    timeouts: Arc<AuthTimeouts>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    New,
    Authenticated,
    /// A user's connection, whose token has expired.
    Expired,
}

/// The open command, and the values for its reply.
#[derive(Default)]
enum Asked {
    #[default]
    Nothing,
    /// With the requests to make once the token is accepted.
    Authenticate(Option<Box<Arrival>>),
    /// The requests that followed it.
    Arrive(Names),
    Subscribe(Names),
    Unsubscribe(Names),
    Publish(Channel),
}

/// The further requests of an `auth`: topics, and missed events.
struct Arrival {
    topics: Topics,
    since: Option<Since>,
}

impl Arrival {
    fn of(frame: &Frame<'_>) -> Result<Option<Box<Self>>, FrameError> {
        let (topics, since) = (frame.first_topics()?, frame.since());
        let is_any = since.is_some() || !topics.names.is_empty();
        Ok(is_any.then(|| Box::new(Self { topics, since })))
    }
}

impl Talk {
    pub(super) fn new(timeouts: Arc<AuthTimeouts>) -> Self {
        Self {
            phase: Phase::New,
            asked: Asked::Nothing,
            timeouts,
        }
    }

    fn read(&mut self, text: &str, context: &Context<'_>, steps: &mut Steps) -> Result<(), FrameError> {
        let frame = Frame::parse(text)?;
        match frame.purpose {
            FrameKind::Ping => steps.extend([Step::Pinged, Reply::Pong.at(context.now)]),
            FrameKind::Auth => {
                let asked = Asked::Authenticate(Arrival::of(&frame)?);
                self.ask(Command::Authenticate(frame.token()?), asked, steps);
            }
            FrameKind::Subscribe => {
                let Topics { names, good: to } = self.proven(&frame)?.topics()?;
                let whole = false;
                let resume = frame.since().map(|since| Resume { since, of_all: false });
                let command = (!to.is_empty()).then_some(Command::Subscribe { to, whole, resume });
                self.ask_or_answer(command, Asked::Subscribe(names), context, steps);
            }
            FrameKind::Unsubscribe => {
                let Topics { names, good: from } = self.proven(&frame)?.topics()?;
                let command = (!from.is_empty()).then_some(Command::Unsubscribe(from));
                self.ask_or_answer(command, Asked::Unsubscribe(names), context, steps);
            }
            FrameKind::Message => {
                let (channel, draft) = self.proven(&frame)?.draft()?;
                self.ask(Command::Publish(draft), Asked::Publish(channel), steps);
            }
        }
        Ok(())
    }

    fn proven<'f, 'a>(&self, frame: &'f Frame<'a>) -> Result<&'f Frame<'a>, FrameError> {
        match self.phase {
            Phase::Authenticated => Ok(frame),
            Phase::New => Err(FrameError::unauthorized("Authentication required")),
            Phase::Expired => Err(FrameError::unauthorized("Token expired")),
        }
    }

    fn ask(&mut self, command: Command, asked: Asked, steps: &mut Steps) {
        self.asked = asked;
        steps.push(Step::Ask(command));
    }

    /// Asks, or answers at once if none of the names is valid.
    fn ask_or_answer(
        &mut self,
        command: Option<Command>,
        asked: Asked,
        context: &Context<'_>,
        steps: &mut Steps,
    ) {
        if let Some(command) = command {
            return self.ask(command, asked, steps);
        }
        self.asked = asked;
        self.answered(Ok(Outcome::Subscribed(Vec::new())), context, steps);
    }

    /// The token is accepted. The client's further requests go to the server before the client is answered.
    fn accepted(&mut self, arrival: Option<Box<Arrival>>, context: &Context<'_>, steps: &mut Steps) {
        if context.identity.is_none() {
            return steps.push(Step::End(Ending::InternalError));
        }
        self.phase = Phase::Authenticated;
        steps.push(Step::Timer(None));
        let Some(Arrival { topics, since }) = arrival.map(|arrival| *arrival) else {
            return steps.push(success(context));
        };
        let command = Command::Subscribe {
            to: topics.good,
            whole: false,
            resume: since.map(|since| Resume { since, of_all: true }),
        };
        self.ask(command, Asked::Arrive(topics.names), steps);
    }
}

impl Conversation for Talk {
    fn opened(&mut self, _context: &Context<'_>, steps: &mut Steps) {
        steps.push(Step::Timer(Some(self.timeouts.auth_timeout)));
    }

    fn text(&mut self, text: &str, context: &Context<'_>, steps: &mut Steps) {
        if let Err(problem) = self.read(text, context, steps) {
            steps.push(Reply::Error(&problem).at(context.now));
        }
    }

    fn answered(&mut self, answer: Result<Outcome, Denial>, context: &Context<'_>, steps: &mut Steps) {
        match (mem::take(&mut self.asked), answer) {
            (Asked::Nothing, _) | (Asked::Publish(_), Ok(_)) => {}
            (Asked::Authenticate(arrival), Ok(_)) => self.accepted(arrival, context, steps),
            (Asked::Arrive(names), answer) => {
                steps.push(success(context));
                // The answer to the resume is in the one to the token.
                let context = &Context {
                    resumed: None,
                    ..*context
                };
                settle(names, answer, context, steps, subscribed);
            }
            (Asked::Authenticate(_), Err(denial)) => steps.push(rejected(denial, context)),
            (Asked::Subscribe(names), answer) => {
                settle(names, answer, context, steps, subscribed);
            }
            (Asked::Unsubscribe(names), answer) => {
                settle(names, answer, context, steps, unsubscribed);
            }
            (Asked::Publish(channel), Err(denial)) => {
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

/// Returns the verdict on each of at most this number of names, in order.
fn verdicts(answer: Result<Outcome, Denial>, names: usize) -> Vec<Result<(), Denial>> {
    match answer {
        Ok(Outcome::Subscribed(verdicts)) => verdicts,
        answer => vec![answer.map(drop); names],
    }
}

fn success(context: &Context<'_>) -> Step {
    let Some(identity) = context.identity else {
        return Step::End(Ending::InternalError);
    };
    let (user_id, resume) = (&*identity.user, context.resumed);
    Reply::AuthSuccess { user_id, resume }.at(context.now)
}

/// Sends a reply for each name in order; `answer` has the verdicts on the valid names.
fn settle(
    names: Names,
    answer: Result<Outcome, Denial>,
    context: &Context<'_>,
    steps: &mut Steps,
    confirmed: for<'a> fn(&'a str, Option<&'a Resumption>) -> Reply<'a>,
) {
    let mut verdicts = verdicts(answer, names.len()).into_iter();
    for name in names {
        let settled = name.and_then(|name| match verdicts.next() {
            Some(Ok(())) => Ok(name),
            Some(Err(denial)) => Err(FrameError::denied(denial, &name)),
            None => Err(FrameError::denied(Denial::Forbidden, &name)), // only allowed names are confirmed
        });
        let reply = match &settled {
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
