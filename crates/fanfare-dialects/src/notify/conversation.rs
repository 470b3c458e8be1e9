//! One connection: it ignores text, and a binary message ends it.

use std::borrow::Cow;

use fanfare_core::{Context, Conversation, Converse, Hearing, Hears, Message, Step, Steps};

use super::Notify;

impl Converse for Notify {
    fn converse(&self, _name: Option<&str>) -> Box<dyn Conversation> {
        Box::new(Listener) // without fields, so nothing is allocated
    }

    fn hears(&self) -> Hearing {
        Hearing::both(Hears::Always)
    }
}

struct Listener;

impl Conversation for Listener {
    fn received(&mut self, message: Message<'_>, _context: &Context<'_>, steps: &mut Steps) {
        match message {
            Message::Text(_) => {}
            Message::Binary(_) => {
                steps.push(Step::Close(1003, Cow::Borrowed("binary frames are not accepted")));
            }
        }
    }
}
