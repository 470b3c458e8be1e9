//! A connection's conversation: what it is handed, how much its client may send, and what it waits for.

use std::sync::Arc;

use fanfare_core::Conversation;
use fanfare_ws::{Decoder, Limits};

use super::meter::Meter;
use crate::{Framing, MountedDialect};

/// One connection's side of its dialect.
pub(crate) struct Dialogue {
    pub(super) conversation: Box<dyn Conversation>,
    pub(super) decoder: Decoder,
    pub(super) meter: Option<Box<Meter>>,
    /// Commands that are not answered yet. Nothing is read meanwhile.
    pub(super) open: u32,
    /// What its messages are wrapped in.
    pub(super) framing: Framing,
    /// The dialect that the client may turn out to speak.
    pub(super) successor: Option<Arc<MountedDialect>>,
}

impl Dialogue {
    pub(super) fn new(
        mounted: &MountedDialect,
        name: Option<&str>,
        framing: Framing,
        successor: Option<Arc<MountedDialect>>,
    ) -> Self {
        Self {
            conversation: mounted.dialect.converse(name),
            decoder: Decoder::new(),
            meter: Meter::new(&mounted.settings()),
            open: 0,
            framing,
            successor,
        }
    }

    /// Begins the conversation of another dialect, in the middle of the stream.
    pub(super) fn switch(&mut self, mounted: &MountedDialect) {
        self.meter = Meter::new(&mounted.settings());
        self.conversation = mounted.dialect.converse(None);
    }

    /// What the client may send, by the settings of its dialect or of the one that it may turn out to speak.
    pub(super) fn limits(&self, mounted: &MountedDialect) -> Limits {
        let settings = self.successor.as_deref().unwrap_or(mounted).settings();
        Limits {
            max_message_size: settings.max_message_size,
            max_fragments: settings.max_fragments,
            deflate: self.framing.deflate(),
        }
    }
}
