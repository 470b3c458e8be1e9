//! Between a connection and its conversation: what is handed to it, and what it wants done.

use std::{
    rc::Rc,
    sync::{Arc, atomic::Ordering::Relaxed},
    time::{SystemTime, UNIX_EPOCH},
};

use bytes::Bytes;
use fanfare_core::{Context, Conversation, Identity, Message, Step, Steps, UserFull};
use fanfare_ws::{Opcode, encode};

use super::{
    Admission, Shard,
    connection::{Connection, Key},
    hold::Hold,
    meter::Meter,
    shard::Codec,
    slots, work,
};

/// What is at hand while a connection is served.
pub(super) struct Turn<'a> {
    pub(super) shard: &'a Rc<Shard>,
    pub(super) key: Key,
    pub(super) codec: &'a mut Codec,
    /// By the node's clock, in milliseconds.
    pub(super) now: u64,
    /// What was done so far.
    pub(super) done: Done,
}

/// What was done in a turn.
#[derive(Default)]
pub(super) struct Done {
    /// See [`super::work`].
    pub(super) work: u64,
    /// Pings that were answered.
    pub(super) pongs: u32,
    /// The answer to the latest of the pings beyond [`PONGS`].
    pub(super) latest_pong: Option<Bytes>,
}

/// Pings that are answered one by one in one turn. Of more only the latest is, as RFC 6455 allows (section 5.5.3): a flood of
/// pings is no flood of pongs.
pub(super) const PONGS: u32 = 16;

impl<'a> Turn<'a> {
    pub(super) fn new(shard: &'a Rc<Shard>, key: Key, codec: &'a mut Codec, now: u64) -> Self {
        Self {
            shard,
            key,
            codec,
            now,
            done: Done::default(),
        }
    }
}

impl Connection {
    /// Hands the conversation something, and does what it wants done.
    pub(super) fn converse(
        &mut self,
        turn: &mut Turn<'_>,
        act: impl FnOnce(&mut dyn Conversation, &Context<'_>, &mut Steps),
    ) {
        let steps = self.think(act);
        self.perform(steps, turn);
    }

    /// Hands the conversation something, and answers what it wants done.
    pub(super) fn think(
        &mut self,
        act: impl FnOnce(&mut dyn Conversation, &Context<'_>, &mut Steps),
    ) -> Steps {
        let mut steps = Steps::new();
        let context = Context {
            now: SystemTime::now(),
            connection: self.id,
            identity: self.identity.as_ref().filter(|_| !self.paused),
        };
        act(&mut *self.conversation, &context, &mut steps);
        steps
    }

    /// Who it proved to be, unless the credential has expired.
    pub(super) fn proven(&self) -> Option<&Arc<Identity>> {
        self.identity.as_ref().filter(|_| !self.paused)
    }

    /// Goes over to the dialect its client turned out to speak with `text`.
    pub(super) fn become_successor(&mut self, text: &str, turn: &mut Turn<'_>) {
        let Some(mounted) = self.successor.take() else {
            return;
        };
        if mounted.dialect.admit(self.identity.as_deref()).is_err() {
            return self.close(1008, "forbidden", turn.now);
        }
        let (node, shard) = (&turn.shard.node, turn.shard.number);
        let hold = self
            .identity
            .as_ref()
            .map(|identity| Hold::user(node, shard, &mounted, &identity.user))
            .transpose();
        let admission = Admission::take(&mounted, self.admission.address(), None);
        let (Ok(hold), Ok(admission)) = (hold, admission) else {
            // RFC 6455 leaves 1013 to the registry: "try again later".
            return self.close(1013, "at capacity", turn.now);
        };
        let slot = self
            .identity
            .as_ref()
            .map(|identity| slots::of_user(node, &mounted, &identity.user));
        let text: Box<str> = text.into();
        let work = async move {
            let slot = match slot {
                Some(slot) => slot.await,
                None => Ok(None),
            };
            let hold = hold.map(|(hold, _)| hold); // the user's events reach the node already
            slot.map(|slot| (admission, hold, slot, text))
        };
        self.settle(turn, work, |connection, admitted, turn| match admitted {
            Ok((mut admission, hold, slot, text)) => {
                admission.keep(slot);
                connection.go_over(admission, hold, &text, turn);
            }
            Err(UserFull) => connection.close(1013, "at capacity", turn.now),
        });
    }

    /// Is of the dialect of `admission` from now on, in which `text` is its first message.
    fn go_over(&mut self, admission: Admission, hold: Option<Hold>, text: &str, turn: &mut Turn<'_>) {
        let mounted = admission.dialect().clone();
        self.release_user(turn.shard);
        self.admission = admission;
        self.keep(hold);
        mounted.counters.opened.fetch_add(1, Relaxed);
        self.meter = Meter::new(&mounted.settings());
        self.timer_at = u64::MAX; // was the old conversation's
        self.conversation = mounted.dialect.converse(None);
        self.rehear(turn.shard, turn.key);
        self.converse(turn, |talk, context, steps| talk.opened(context, steps));
        self.converse(turn, |talk, context, steps| {
            talk.received(Message::Text(text), context, steps);
        });
    }

    /// Does what the conversation wants done.
    pub(super) fn perform(&mut self, steps: Steps, turn: &mut Turn<'_>) {
        for step in steps {
            turn.done.work += work::of_step(&step);
            match step {
                Step::SendText(text) => self.say(Opcode::Text, &text, turn),
                Step::SendBinary(bytes) => self.say(Opcode::Binary, &bytes, turn),
                Step::Ask(command) => self.ask(command, turn),
                Step::Timer(time) => {
                    let at = time.map(|time| turn.now.saturating_add(millis(time)));
                    self.timer_at = at.unwrap_or(u64::MAX);
                }
                Step::Pinged => self.pinged_at = turn.now.max(1),
                Step::Pause => {
                    self.paused = true;
                    self.expires_at = u64::MAX;
                }
                Step::Close(code, reason) => self.close(code, &reason, turn.now),
                Step::End(ending) => self.end(ending, turn.now),
            }
        }
    }

    fn say(&mut self, opcode: Opcode, payload: &[u8], turn: &mut Turn<'_>) {
        let (mounted, deflate) = self.class();
        let mounted = mounted.clone();
        let frame = match deflate {
            Some(params) if payload.len() >= mounted.settings().compression_threshold => {
                turn.codec.deflater.frame(opcode, payload, params)
            }
            _ => encode::frame(opcode, payload, false),
        };
        let sent = self.queue_answer(frame, turn.now);
        mounted.counters.sent.fetch_add(sent.queued, Relaxed);
        mounted.counters.answers.fetch_add(sent.queued, Relaxed);
        mounted.counters.dropped.fetch_add(sent.dropped, Relaxed);
    }
}

/// A time as milliseconds since 1970.
pub(super) fn unix_millis(time: SystemTime) -> u64 {
    time.duration_since(UNIX_EPOCH).map_or(0, millis)
}

pub(super) fn millis(duration: std::time::Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}
