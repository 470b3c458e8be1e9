//! A connection's conversation: what it is handed, how much its client may send, and what it waits for.

use std::sync::Arc;

use fanfare_core::{Context, Conversation, Steps};
use fanfare_ws::{Decoder, DeflateParams, Limits};

use super::meter::{Meter, Ruling};
use crate::MountedDialect;

/// One connection's side of its dialect.
pub(crate) struct Dialogue {
    conversation: Box<dyn Conversation>,
    pub(super) decoder: Decoder,
    meter: Option<Box<Meter>>,
    /// Commands that are not answered yet. Nothing is read meanwhile.
    open: u32,
    /// The compression that was negotiated.
    pub(super) deflate: Option<DeflateParams>,
    /// The dialect that the client may turn out to speak.
    pub(super) successor: Option<Arc<MountedDialect>>,
}

impl Dialogue {
    pub(super) fn new(
        mounted: &MountedDialect,
        name: Option<&str>,
        deflate: Option<DeflateParams>,
        successor: Option<Arc<MountedDialect>>,
    ) -> Self {
        Self {
            conversation: mounted.dialect.converse(name),
            decoder: Decoder::new(),
            meter: Meter::new(&mounted.settings()),
            open: 0,
            deflate,
            successor,
        }
    }

    /// Begins the conversation of another dialect, in the middle of the stream.
    pub(super) fn switch(&mut self, mounted: &MountedDialect) {
        self.meter = Meter::new(&mounted.settings());
        self.conversation = mounted.dialect.converse(None);
    }

    /// Hands the conversation something, and returns what it wants done.
    pub(super) fn think(
        &mut self,
        context: &Context<'_>,
        act: impl FnOnce(&mut dyn Conversation, &Context<'_>, &mut Steps),
    ) -> Steps {
        let mut steps = Steps::new();
        act(&mut *self.conversation, context, &mut steps);
        steps
    }

    /// Counts a frame of the client's.
    pub(super) fn rule(&mut self, now: u64) -> Ruling {
        self.meter.as_mut().map_or(Ruling::Pass, |meter| meter.rule(now))
    }

    /// What the client may send, by the settings of its dialect or of the one that it may turn out to speak.
    pub(super) fn limits(&self, mounted: &MountedDialect) -> Limits {
        let settings = self.successor.as_deref().unwrap_or(mounted).settings();
        Limits {
            max_message_size: settings.max_message_size,
            max_fragments: settings.max_fragments,
            deflate: self.deflate,
        }
    }

    pub(super) fn is_waiting(&self) -> bool {
        self.open > 0
    }

    /// A command waits for its answer.
    pub(super) fn wait(&mut self) {
        self.open += 1;
    }

    /// The answer has come.
    pub(super) fn resume(&mut self) {
        self.open -= 1;
    }
}
