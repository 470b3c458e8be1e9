//! A connection's own task: it reads, lets the conversation answer, and writes what was queued.

use std::{
    future::poll_fn,
    io::ErrorKind,
    panic::{AssertUnwindSafe, catch_unwind},
    rc::Rc,
    sync::atomic::Ordering::Relaxed,
    task::{Context, Poll},
};

use bytes::{Buf, BytesMut};
use fanfare_core::{Ending, Message, Steps};

use super::{
    Shard,
    connection::{Connection, Key, Phase},
    meter::Ruling,
    shard::Tools,
    talk::Turn,
};
use crate::ws::{Incoming, Input, Limits, Violation, encode};

/// Looks at the socket in a row, and messages in one look, before the rest of the shard gets a turn. A client that
/// sends as fast as it can must not be felt by the others.
const LOOKS_PER_TURN: usize = 4;
const MESSAGES_PER_LOOK: usize = 128;

/// How a connection's task stands after a few looks at its socket.
#[derive(PartialEq, Eq)]
enum Looked {
    /// There may be more, after the others.
    Spent,
    /// The connection is over.
    Over,
}

/// What a look at the socket came to.
enum Progress {
    /// There may be more.
    Again,
    /// Nothing to do until the socket or somebody wakes the task.
    Wait,
    /// The connection is over.
    Over,
}

/// What was taken from a client's stream.
enum Taken {
    /// No whole message is there.
    NoMore,
    /// Something that is dealt with already.
    Handled,
    /// A message, and what the conversation wants done for it.
    Heard(Steps),
    /// A message of the dialect that this connection may turn out to speak.
    Foreign(Box<str>),
    /// A message over the rate.
    Dropped,
    /// One of too many over the rate.
    TooMuch,
    /// The close frame, and its code.
    Closed(Option<u16>),
    /// Something that makes no sense.
    Bad(Violation),
}

/// Serves a connection to its end.
pub(super) async fn run(shard: &Rc<Shard>, key: Key) {
    while poll_fn(|cx| shard.poll_connection(key, cx)).await == Looked::Spent {
        // Not a mere wake-up, which would come before the shard has looked at its other sockets.
        tokio::task::yield_now().await;
    }
}

impl Shard {
    /// One turn of a connection's task.
    fn poll_connection(self: &Rc<Self>, key: Key, cx: &mut Context<'_>) -> Poll<Looked> {
        for _ in 0..LOOKS_PER_TURN {
            let mut connections = self.connections.borrow_mut();
            let Some(connection) = Connection::at(&mut connections, key) else {
                return Poll::Ready(Looked::Over);
            };
            if connection
                .waker
                .as_ref()
                .is_none_or(|waker| !waker.will_wake(cx.waker()))
            {
                connection.waker = Some(cx.waker().clone());
            }
            let mut tools = self.tools.borrow_mut();
            // A panic in a dialect or in our own code for this connection is this connection's alone.
            let looked = catch_unwind(AssertUnwindSafe(|| connection.look(self, key, &mut tools, cx)));
            match looked {
                Ok(Progress::Again) => {}
                Ok(Progress::Wait) => return Poll::Pending,
                Ok(Progress::Over) => return Poll::Ready(Looked::Over),
                Err(_) => {
                    if connection.phase != Phase::Open {
                        return Poll::Ready(Looked::Over);
                    }
                    connection.failed(self.node.clock_ms());
                }
            }
        }
        Poll::Ready(Looked::Spent)
    }
}

impl Connection {
    fn look(&mut self, shard: &Rc<Shard>, key: Key, tools: &mut Tools, cx: &mut Context<'_>) -> Progress {
        let now = shard.node.clock_ms();
        if !self.nothing_queued() || self.transport.wants_flush() {
            match self.transport.poll_write_ready(cx) {
                Poll::Ready(_) => match self.flush() {
                    Ok(true) => {}
                    Ok(false) => return Progress::Again, // registers for write readiness next time round
                    Err(error) => self.broken(&error),
                },
                Poll::Pending if self.is_congested() && self.phase == Phase::Open => return Progress::Wait,
                Poll::Pending => {}
            }
        }
        if self.phase != Phase::Open {
            self.depart(shard, key);
        }
        match &mut self.phase {
            Phase::Gone => return Progress::Over,
            Phase::Finishing { finished, .. } if !*finished && self.outbox.is_none() => {
                *finished = true;
                self.transport.finish_writing();
            }
            // What was asked for comes first; whoever answers wakes the task.
            Phase::Open if self.asked > 0 => return Progress::Wait,
            _ => {}
        }
        let mut turn = Turn {
            shard,
            key,
            codec: &mut tools.codec,
            now,
        };
        if let Some(mut unread) = self.unread.take() {
            let rest = self.received(&mut unread, &mut turn);
            if rest > 0 {
                unread.advance(unread.len() - rest);
                self.unread = Some(unread);
            }
            return Progress::Again;
        }
        match self.transport.poll_read_ready(cx) {
            Poll::Pending if !self.transport.has_read_ahead() => Progress::Wait,
            Poll::Pending | Poll::Ready(_) => self.read(&mut tools.read_buffer, &mut turn),
        }
    }

    fn read(&mut self, buffer: &mut [u8], turn: &mut Turn<'_>) -> Progress {
        match self.transport.try_read(buffer) {
            Ok(0) => {
                self.gone();
                Progress::Over
            }
            Ok(bytes) => {
                self.heard_at = turn.now;
                let rest = self.received(&mut buffer[..bytes], turn);
                if rest > 0 {
                    self.unread = Some(Box::new(BytesMut::from(&buffer[bytes - rest..bytes])));
                }
                Progress::Again
            }
            Err(error) if error.kind() == ErrorKind::WouldBlock => Progress::Again,
            Err(error) => {
                self.broken(&error);
                Progress::Over
            }
        }
    }

    /// Takes in bytes from the client; answers how many of them, at the end, must wait: until others had their turn,
    /// until the client has read its answers, or until it has them.
    fn received(&mut self, bytes: &mut [u8], turn: &mut Turn<'_>) -> usize {
        if matches!(self.phase, Phase::Finishing { .. } | Phase::Gone) {
            return 0; // nothing that comes now has a meaning
        }
        let mut input = Input::new(bytes);
        for _ in 0..MESSAGES_PER_LOOK {
            match self.take_message(&mut input, turn) {
                Taken::NoMore => {
                    self.flush_or_wake();
                    return 0;
                }
                Taken::Handled => {}
                Taken::Heard(steps) => self.perform(steps, turn),
                Taken::Foreign(text) => self.become_successor(&text, turn),
                Taken::TooMuch => self.end(Ending::RateLimited, turn.now),
                Taken::Dropped => self.converse(turn, |talk, context, steps| talk.limited(context, steps)),
                Taken::Closed(code) => {
                    self.closed_by_client(code, turn.now);
                    return 0;
                }
                Taken::Bad(violation) => {
                    self.violated(violation, turn.now);
                    return 0;
                }
            }
            if self.asked > 0 {
                break;
            }
            if self.is_congested() {
                self.flush_or_wake();
                if self.is_congested() {
                    break;
                }
            }
        }
        self.flush_or_wake();
        input.rest().len()
    }

    /// Takes the next message. It lies in buffers that what comes of it may need, so that is left to the caller.
    fn take_message(&mut self, input: &mut Input<'_>, turn: &mut Turn<'_>) -> Taken {
        let settings = &self
            .successor
            .as_ref()
            .unwrap_or(self.admission.dialect())
            .settings;
        let limits = Limits {
            max_message_size: settings.max_message_size,
            max_fragments: settings.max_fragments,
            deflate: self.deflate,
        };
        let mut decoder = std::mem::take(&mut self.decoder);
        let open = self.phase == Phase::Open;
        let taken = match decoder.next(input, &limits, &mut turn.codec.inflater) {
            Err(violation) => Taken::Bad(violation),
            Ok(None) => Taken::NoMore,
            Ok(Some(Incoming::Close(close))) => Taken::Closed(close.map(|(code, _)| code)),
            Ok(Some(_)) if !open => Taken::Handled,
            Ok(Some(Incoming::Text(text))) => self.hear(Message::Text(text), turn.now),
            Ok(Some(Incoming::Binary(bytes))) => self.hear(Message::Binary(bytes), turn.now),
            Ok(Some(Incoming::Ping(payload))) => {
                let pong = encode::pong_frame(payload);
                self.pinged_at = turn.now.max(1);
                self.queue(pong, turn.now);
                Taken::Handled
            }
            Ok(Some(Incoming::Pong(_))) => {
                self.pinged_at = turn.now.max(1);
                Taken::Handled
            }
        };
        self.decoder = decoder;
        taken
    }

    /// Hands the conversation a message, unless its client sends too many or speaks another dialect.
    fn hear(&mut self, message: Message<'_>, now: u64) -> Taken {
        self.admission.dialect().counters.received.fetch_add(1, Relaxed);
        let ruling = self.meter.as_mut().map_or(Ruling::Pass, |meter| meter.rule(now));
        if ruling != Ruling::Pass {
            let counters = &self.admission.dialect().counters;
            counters.rate_limited.fetch_add(1, Relaxed);
        }
        match ruling {
            Ruling::Pass => {}
            Ruling::Drop => return Taken::Dropped,
            Ruling::End => return Taken::TooMuch,
        }
        if let (Some(successor), Message::Text(text)) = (&self.successor, message)
            && successor.dialect.recognizes(text)
        {
            return Taken::Foreign(text.into());
        }
        Taken::Heard(self.think(|talk, context, steps| talk.received(message, context, steps)))
    }

    fn violated(&mut self, violation: Violation, now: u64) {
        tracing::debug!(
            connection = self.number,
            reason = violation.reason(),
            "protocol violation"
        );
        self.refuse_stream(violation.close_code(), violation.reason(), now);
    }

    /// A fault of ours, or of the dialect's, while this connection was served. It is this connection's alone.
    pub(super) fn failed(&mut self, now: u64) {
        tracing::error!(
            connection = self.number,
            "a fault while serving a connection; it is closed"
        );
        self.unread = None;
        self.end(Ending::InternalError, now);
    }
}
