//! One connection as a state machine: it takes bytes, answers and the time, and returns frames and commands. Its caller has the
//! socket, the shard, the broker and the clock.
//!
//! It has three parts: the frames that are not written yet ([`outbox`]), its times ([`liveness`]), and its identity and
//! subscriptions ([`subscriber`]).

mod closing;
mod holding;
mod liveness;
mod meter;
mod outbox;
mod receive;
mod splice;
mod subscriber;
mod subscriptions;
#[cfg(test)]
mod tests;

use std::sync::Arc;

use bytes::Bytes;
use fanfare_core::{
    Channel, Command, Context, Conversation, Denial, Ending, Identity, Message, Opening, Outcome, Rendering,
    Step, Steps,
};
use fanfare_ws::{Decoder, Limits, Opcode, encode};
use uuid::Uuid;

use self::{
    liveness::{Due, Liveness},
    meter::Meter,
    outbox::Outbox,
};
pub(crate) use self::{
    receive::{Received, TurnTotals, receive},
    splice::{HeldItem, Splice},
    subscriber::Subscriber,
    subscriptions::{Traits, shows_everyone, shows_user},
};
use super::{
    Admission, Framing, MountedDialect, Variant,
    clock::{Moment, millis},
    codec::Codec,
    counters::Tally,
    framing::opcode,
};

/// A connection that asks for admission.
pub struct NewConnection {
    /// Its place among its dialect's connections.
    pub admission: Admission,
    /// Its verified identity.
    pub identity: Option<Arc<Identity>>,
    /// Its id, unique in the cluster.
    pub id: Uuid,
    /// The client's program, if the dialect keeps it.
    pub user_agent: Option<Box<str>>,
    /// The guest of its path: another dialect that the client may speak.
    pub guest: Option<Arc<MountedDialect>>,
    /// Its framing.
    pub framing: Framing,
    /// The requests in its handshake.
    pub opening: Option<Box<Opening>>,
}

/// The phase of a connection's life.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Phase {
    /// The client and the conversation exchange messages.
    Open,
    /// The server's close frame is queued. The client may answer it in time.
    Closing { until: u64 },
    /// The server has sent everything. The client may hang up in time.
    Finishing {
        until: u64,
        /// Whether the stream was shut down.
        is_shut_down: bool,
        /// Whether the client's last bytes were its close frame.
        client_closed: bool,
    },
    /// The socket has ended, and the connection must be removed.
    Gone,
}

/// An action of a step that needs the driver or the node.
#[derive(Debug, PartialEq)]
pub(crate) enum DriverAction {
    /// [Queue](Connection::queue_answer) this frame, after an attempt to make room for it.
    Send(Bytes),
    /// Run this command, then call [`Connection::answered`].
    Run(Command),
}

/// A connection. All times are in milliseconds of the node's clock.
pub(crate) struct Connection {
    pub(crate) id: Uuid,
    /// Its number on the node, for logs.
    pub(crate) number: u64,
    pub(crate) admission: Admission,
    pub(crate) subscriber: Subscriber,
    pub(crate) liveness: Liveness,
    conversation: Box<dyn Conversation>,
    decoder: Decoder,
    meter: Option<Box<Meter>>,
    /// The number of commands that are not answered yet. While there are any, nothing is read.
    open_commands: u32,
    framing: Framing,
    /// See [`NewConnection::guest`].
    guest: Option<Arc<MountedDialect>>,
    /// The frames that wait for the socket; in a box, because there are seldom any.
    outbox: Option<Box<Outbox>>,
    phase: Phase,
    /// The close code that was sent, by the server or the client; 0 for none.
    pub(crate) close_code: u16,
    /// Whether its end would count as a loss now: neither the client nor the server has closed it.
    pub(crate) is_lost: bool,
    /// Whether its conversation has begun.
    has_begun: bool,
}

impl Connection {
    pub(crate) fn new(new: NewConnection, number: u64, moment: Moment) -> Self {
        let mut admission = new.admission;
        admission.set_user_agent(new.user_agent);
        let mounted = admission.dialect();
        let mut liveness = Liveness::new(&mounted.settings(), moment.ms);
        if let Some(identity) = &new.identity {
            liveness.expiry = identity.expires_at_ms;
        }
        let mut connection = Self {
            id: new.id,
            number,
            conversation: mounted.dialect.converse(admission.name()),
            decoder: Decoder::new(),
            meter: Meter::new(&mounted.settings()),
            open_commands: 0,
            framing: new.framing,
            guest: new.guest,
            subscriber: Subscriber {
                identity: new.identity,
                ..Subscriber::default()
            },
            liveness,
            admission,
            outbox: None,
            phase: Phase::Open,
            close_code: 0,
            is_lost: true,
            has_begun: false,
        };
        connection.open_with(new.opening, moment.ms);
        connection
    }

    pub(crate) fn mounted(&self) -> &Arc<MountedDialect> {
        self.admission.dialect()
    }

    /// Returns the properties that decide the bytes of an event.
    pub(crate) fn variant(&self) -> Variant<'_> {
        Variant {
            mounted: self.mounted(),
            framing: self.framing(),
            cursors: self.wants_cursors(),
        }
    }

    pub(crate) fn framing(&self) -> Framing {
        self.framing
    }

    #[cfg(test)]
    pub(crate) fn set_framing(&mut self, framing: Framing) {
        self.framing = framing;
    }

    pub(crate) fn has_begun(&self) -> bool {
        self.has_begun
    }

    pub(crate) fn is_open(&self) -> bool {
        self.phase == Phase::Open
    }

    /// Returns whether received bytes may still be messages.
    pub(crate) fn is_readable(&self) -> bool {
        matches!(self.phase, Phase::Open | Phase::Closing { .. })
    }

    pub(crate) fn is_gone(&self) -> bool {
        self.phase == Phase::Gone
    }

    /// Returns whether it takes events now: not while it closes, its credential has expired, or events are held back.
    pub(crate) fn takes_events(&self) -> bool {
        self.is_open() && !self.subscriber.is_blocked
    }

    /// Returns the limits of the client's messages, by the settings of the guest if there is one, or of its dialect.
    fn limits(&self) -> Limits {
        let settings = self.guest.as_ref().unwrap_or(self.mounted()).settings();
        Limits {
            max_message_size: settings.max_message_size,
            max_fragments: settings.max_fragments,
            deflate: self.framing.deflate(),
        }
    }

    /// Returns whether a command of its conversation is not answered yet.
    pub(crate) fn is_asked(&self) -> bool {
        self.open_commands > 0
    }

    /// Returns whether a command is not answered yet, or events are held back. While it does, nothing is read.
    pub(crate) fn is_waiting(&self) -> bool {
        self.is_asked() || self.is_holding()
    }
}

/// Calls of the conversation, which return its steps.
impl Connection {
    /// Begins the conversation, after the upgrade.
    pub(crate) fn opened(&mut self, moment: Moment) -> Steps {
        self.has_begun = true;
        self.call_conversation(moment, |conversation, context, steps| {
            conversation.opened(context, steps);
        })
    }

    /// Notifies the conversation that the replay is complete.
    pub(crate) fn caught_up(&mut self, moment: Moment) -> Steps {
        self.call_conversation(moment, |conversation, context, steps| {
            conversation.caught_up(context, steps);
        })
    }

    /// Passes the conversation the answer to its oldest open command.
    pub(crate) fn answered(&mut self, answer: Result<Outcome, Denial>, moment: Moment) -> Steps {
        let steps = self.call_conversation(moment, |conversation, context, steps| {
            conversation.answered(answer, context, steps);
        });
        self.forget_resumption();
        steps
    }

    /// Notifies the conversation that the subscription to `channel` has ended with its credential.
    pub(crate) fn lapsed(&mut self, channel: &Channel, moment: Moment) -> Steps {
        self.call_conversation(moment, |conversation, context, steps| {
            conversation.lapsed(channel, context, steps);
        })
    }

    /// Passes the conversation a message.
    pub(crate) fn message(&mut self, message: Message<'_>, moment: Moment) -> Steps {
        self.call_conversation(moment, |conversation, context, steps| {
            conversation.received(message, context, steps);
        })
    }

    /// Calls the conversation if its timer has expired; returns `None` if it has not.
    pub(crate) fn timer(&mut self, moment: Moment) -> Option<Steps> {
        let is_over = self.is_open() && self.liveness.take_timer(moment.ms);
        is_over.then(|| {
            self.call_conversation(moment, |conversation, context, steps| {
                conversation.timer(context, steps);
            })
        })
    }

    /// Applies the timeouts that are due; returns `None` if none is.
    pub(crate) fn timeout(&mut self, moment: Moment) -> Option<Steps> {
        let now = moment.ms;
        match self.phase {
            Phase::Open => return self.keep_alive(moment),
            Phase::Closing { .. } | Phase::Finishing { .. } if self.has_stopped_reading(now) => {
                self.phase = Phase::Gone;
            }
            // The client does not answer the close frame, but may still read. To close the socket with unread bytes would reset
            // the connection, and sent bytes could be lost.
            Phase::Closing { until } if now >= until && self.is_outbox_empty() => self.finish(false, now),
            Phase::Closing { until } | Phase::Finishing { until, .. } if now >= until => {
                self.phase = Phase::Gone;
            }
            Phase::Closing { .. } | Phase::Finishing { .. } | Phase::Gone => return None,
        }
        Some(Steps::new())
    }

    fn keep_alive(&mut self, moment: Moment) -> Option<Steps> {
        let settings = self.admission.dialect().settings();
        let is_waiting = self.is_waiting();
        let patience = millis(settings.ping_timeout);
        if self.framing().is_body() && self.is_outbox_empty() {
            self.liveness.read(moment.ms); // its client sends nothing, and has taken all frames
        }
        if self.is_stuck(moment.ms, patience) {
            self.end(Ending::SlowConsumer, moment);
            return Some(Steps::new());
        }
        match self.liveness.take_due(&settings, is_waiting, moment)? {
            Due::Expiry => {
                return Some(self.call_conversation(moment, |conversation, context, steps| {
                    conversation.expired(context, steps);
                }));
            }
            Due::Silence => self.end(Ending::PingTimeout, moment),
            // A client with queued frames is not pinged: if it does not read them, it ends as a slow consumer.
            Due::Ping if self.is_outbox_empty() => {
                let message = self.mounted().dialect.ping(moment.wall);
                if !self.framing().is_body() {
                    self.push(encode::frame(Opcode::Ping, b"", false));
                }
                if let Some(message) = message {
                    self.push(self.framing().frame(&message));
                }
            }
            Due::Ping => {}
        }
        Some(Steps::new())
    }

    fn call_conversation(
        &mut self,
        moment: Moment,
        act: impl FnOnce(&mut dyn Conversation, &Context<'_>, &mut Steps),
    ) -> Steps {
        let context = Context {
            opening: self.subscriber.opening(),
            resumed: self
                .subscriber
                .splice()
                .and_then(|splice| splice.resumed.as_ref()),
            ..Context::new(moment.wall, self.id, self.subscriber.valid_identity())
        };
        let mut steps = Steps::new();
        act(&mut *self.conversation, &context, &mut steps);
        steps
    }

    /// Switches to the dialect of `admission`.
    pub(crate) fn switch(&mut self, mut admission: Admission, moment: Moment) {
        self.liveness.set_timer(None, moment.ms); // the old conversation had set it
        self.meter = Meter::new(&admission.dialect().settings());
        self.conversation = admission.dialect().dialect.converse(None);
        admission.set_user_agent(self.admission.take_user_agent());
        self.admission = admission;
    }

    /// Takes the guest of its path, so that the connection switches once.
    pub(crate) fn take_guest(&mut self) -> Option<Arc<MountedDialect>> {
        self.guest.take()
    }

    /// Applies the first or a new credential.
    pub(crate) fn identify(&mut self, identity: Arc<Identity>) {
        self.liveness.expiry = identity.expires_at_ms;
        self.subscriber.is_paused = false;
        self.subscriber.is_blocked = self.is_holding();
        self.subscriber.identity = Some(identity);
    }

    /// Counts a command that waits for its answer.
    pub(crate) fn begin_command(&mut self) {
        self.open_commands += 1;
    }

    /// Counts an answered command.
    pub(crate) fn end_command(&mut self, moment: Moment) {
        self.open_commands -= 1;
        self.liveness.read(moment.ms); // nothing was read meanwhile, so its silence begins now
    }

    /// Performs a step of the conversation. Returns the action that needs the driver or the node, if there is one.
    pub(crate) fn perform(&mut self, step: Step, codec: &mut Codec, moment: Moment) -> Option<DriverAction> {
        match step {
            Step::Send(message) => return Some(self.answer(&message, codec)),
            Step::Ask(command) => return self.is_open().then_some(DriverAction::Run(command)),
            Step::Timer(after) => self.liveness.set_timer(after, moment.ms),
            Step::Pinged => self.liveness.pinged(moment.ms),
            Step::Pause => {
                self.subscriber.is_paused = true;
                self.release();
                if let Some(splice) = self.subscriber.splice_mut() {
                    splice.interrupt();
                }
                self.liveness.expiry = u64::MAX;
            }
            Step::Close(code, reason) => self.close(code, &reason, moment.ms),
            Step::End(ending) => self.end(ending, moment),
        }
        None
    }

    fn answer(&self, message: &Rendering, codec: &mut Codec) -> DriverAction {
        let (framing, payload) = (self.framing(), message.payload());
        let threshold = self.mounted().settings().compression_threshold;
        DriverAction::Send(match framing {
            Framing::WebSocket(Some(params)) if payload.len() >= threshold => {
                codec.deflater.frame(opcode(message), payload, params)
            }
            _ => framing.frame(message),
        })
    }
}
