//! One connection: it ignores text. If it requested missed events, the answer is its first message.

use fanfare_core::{
    Command, Context, Conversation, Converse, Denial, Outcome, Receives, Reception, Render, Step, Steps,
};

use super::Notify;

impl Converse for Notify {
    fn converse(&self, _name: Option<&str>) -> Box<dyn Conversation> {
        Box::new(Listener) // without fields, so nothing is allocated
    }

    fn receives(&self) -> Reception {
        Reception::both(Receives::Always)
    }
}

struct Listener;

impl Conversation for Listener {
    fn opened(&mut self, context: &Context<'_>, steps: &mut Steps) {
        let resume = context.opening.and_then(|opening| opening.resume);
        steps.extend(resume.map(|since| Step::Ask(Command::Resume(since))));
    }

    fn answered(&mut self, _: Result<Outcome, Denial>, context: &Context<'_>, steps: &mut Steps) {
        let Context { connection, now, .. } = *context;
        let resumed = context.resumed;
        let resumed = resumed.and_then(|resumed| Notify.missed(resumed, connection, now));
        steps.extend(resumed.map(Step::Send));
    }

    fn text(&mut self, _text: &str, _context: &Context<'_>, _steps: &mut Steps) {}
}
