//! One connection: it receives a welcome, and may send pings, pongs and requests for the server's figures.

use fanfare_core::{
    Command, Context, Conversation, Converse, Denial, Outcome, Receives, Reception, Step, Steps,
};

use super::{
    Broadcast,
    frames::{self, Frame},
    handshake, render,
};

const BAD_MESSAGE: u16 = 1008;
const TOO_MANY: u16 = 429;

impl Converse for Broadcast {
    fn converse(&self, name: Option<&str>) -> Box<dyn Conversation> {
        Box::new(Client {
            name: name.map(Into::into),
            interval_seconds: self.interval_seconds(),
            errors: 0,
        })
    }

    fn receives(&self) -> Reception {
        Reception::both(Receives::Always)
    }
}

struct Client {
    /// The client's name, until the welcome is sent.
    name: Option<Box<str>>,
    interval_seconds: u64,
    errors: u32,
}

impl Client {
    fn welcome(&mut self, context: &Context<'_>) -> Step {
        let name = self.name.take();
        let name = name.unwrap_or_else(|| handshake::name_for(context.connection).into());
        Step::text(render::welcome(&name, self.interval_seconds, context))
    }

    fn error(&mut self, message: &str, code: u16, context: &Context<'_>) -> Step {
        self.errors = self.errors.wrapping_add(1);
        let id = format!("error_{}_{}", handshake::tail(context.connection), self.errors);
        Step::text(render::error(&id, message, code, context.now))
    }
}

impl Conversation for Client {
    /// A client that requests missed events receives its welcome with the answer.
    fn opened(&mut self, context: &Context<'_>, steps: &mut Steps) {
        steps.push(match context.opening.and_then(|opening| opening.resume) {
            Some(since) => Step::Ask(Command::Resume(since)),
            None => self.welcome(context),
        });
    }

    fn text(&mut self, text: &str, context: &Context<'_>, steps: &mut Steps) {
        match frames::read(text) {
            Ok(Frame::Ping) => {
                steps.push(Step::Pinged);
                steps.push(Step::text(render::pong(context.now)));
            }
            Ok(Frame::Pong) => steps.push(Step::Pinged),
            Ok(Frame::StatusRequest) => steps.push(Step::Ask(Command::Facts)),
            Err(message) => steps.push(self.error(&message, BAD_MESSAGE, context)),
        }
    }

    fn answered(&mut self, answer: Result<Outcome, Denial>, context: &Context<'_>, steps: &mut Steps) {
        steps.push(match answer {
            Ok(Outcome::Resumed) => self.welcome(context),
            Ok(Outcome::Facts(own)) => Step::text(render::status_response(&own, context.now)),
            _ => self.error("Status is not available", BAD_MESSAGE, context),
        });
    }

    fn limited(&mut self, context: &Context<'_>, steps: &mut Steps) {
        steps.push(self.error("Rate limit exceeded", TOO_MANY, context));
    }
}
