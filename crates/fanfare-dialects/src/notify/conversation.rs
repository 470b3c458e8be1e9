//! One connection: it ignores text, and a binary message ends it.

use fanfare_core::{Context, Conversation, Converse, Receives, Reception, Steps};

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
    fn text(&mut self, _text: &str, _context: &Context<'_>, _steps: &mut Steps) {}
}
