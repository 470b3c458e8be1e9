//! One connection: it ignores text. A client that requested missed events first receives the answer.

use fanfare_core::{
    Command, Context, Conversation, Converse, Denial, Outcome, Receives, Reception, Render, Step, Steps,
};

use super::Notify;

impl Converse for Notify {
    fn converse(&self, _name: Option<&str>) -> Box<dyn Conversation> {
        Box::new(Client) // without fields, so nothing is allocated
    }

    fn receives(&self) -> Reception {
        Reception::both(Receives::Always)
    }
}

struct Client;

impl Conversation for Client {
    fn opened(&mut self, context: &Context<'_>, steps: &mut Steps) {
        let resume = context.opening.and_then(|opening| opening.resume);
        steps.extend(resume.map(|since| Step::Ask(Command::Resume(since))));
    }

    fn answered(&mut self, _: Result<Outcome, Denial>, context: &Context<'_>, steps: &mut Steps) {
        let missed = context
            .resumed
            .and_then(|resumed| Notify.missed(resumed, context.connection, context.now));
        steps.extend(missed.map(Step::Send));
    }

    fn text(&mut self, _text: &str, _context: &Context<'_>, _steps: &mut Steps) {}
}
