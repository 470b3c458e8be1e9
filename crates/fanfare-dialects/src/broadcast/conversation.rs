//! One connection: it gets a welcome, may ping, answer pings and ask for the server's figures.

use std::borrow::Cow;

use fanfare_core::{Command, Context, Conversation, Denial, Message, Outcome, Step, Steps, Ticket};

use super::{
    door,
    frames::{self, Frame},
    messages,
};

/// The ticket of the only command, the server's figures.
const STATUS: Ticket = 0;

/// The error code for a bad message.
const BAD_MESSAGE: u16 = 1008;
/// The error code for a message over the rate limit.
const TOO_MANY: u16 = 429;

/// A connection of this dialect. Most only listen, so it holds almost nothing.
pub(super) struct Client {
    /// The client's name, until the welcome is sent.
    name: Option<Box<str>>,
    interval_seconds: u64,
    /// The number of errors that were sent to it.
    errors: u32,
}

impl Client {
    pub(super) fn new(name: Option<&str>, interval_seconds: u64) -> Self {
        Self {
            name: name.map(Into::into),
            interval_seconds,
            errors: 0,
        }
    }

    fn error(&mut self, message: &str, code: u16, context: &Context<'_>) -> Step {
        self.errors = self.errors.wrapping_add(1);
        let id = format!("error_{}_{}", door::tail(context.connection), self.errors);
        Step::SendText(messages::error(&id, message, code, context.now))
    }
}

impl Conversation for Client {
    fn opened(&mut self, context: &Context<'_>, steps: &mut Steps) {
        let name = self.name.take();
        let name = name.unwrap_or_else(|| door::name_for(context.connection).into());
        let welcome = messages::welcome(&name, self.interval_seconds, context.now);
        steps.push(Step::SendText(welcome));
    }

    fn received(&mut self, message: Message<'_>, context: &Context<'_>, steps: &mut Steps) {
        let Message::Text(text) = message else {
            let reason = Cow::Borrowed("binary frames are not accepted");
            return steps.push(Step::Close(1003, reason));
        };
        match frames::read(text) {
            Ok(Frame::Ping) => {
                steps.push(Step::Pinged);
                steps.push(Step::SendText(messages::pong(context.now)));
            }
            Ok(Frame::Pong) => steps.push(Step::Pinged),
            Ok(Frame::StatusRequest) => steps.push(Step::Ask(STATUS, Command::Facts)),
            Err(what) => steps.push(self.error(&what, BAD_MESSAGE, context)),
        }
    }

    fn answered(
        &mut self,
        _ticket: Ticket,
        answer: Result<Outcome, Denial>,
        context: &Context<'_>,
        steps: &mut Steps,
    ) {
        steps.push(match answer {
            Ok(Outcome::Facts(own)) => Step::SendText(messages::status_response(&own, context.now)),
            _ => self.error("Status is not available", BAD_MESSAGE, context),
        });
    }

    fn limited(&mut self, context: &Context<'_>, steps: &mut Steps) {
        steps.push(self.error("Rate limit exceeded", TOO_MANY, context));
    }
}
