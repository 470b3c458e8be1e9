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
use fanfare_ws::{Incoming, Input, Limits, Violation, encode};

use super::{
    Shard,
    connection::{Connection, Key, Phase},
    meter::Ruling,
    talk::{Done, PONGS, Turn},
    work,
};

/// How a connection's task stands after a turn.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Looked {
    /// There may be more, once the connection was called.
    Spent,
    /// The connection is over.
    Over,
}

/// What a look at the socket came to.
enum Progress {
    /// There may be more.
    Again,
    /// There is more, and others come first.
    Spent,
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
    loop {
        let light = poll_fn(|cx| shard.poll_connection(key, cx, false));
        if shard.pace.clone().paced(light).await == Looked::Over {
            return;
        }
        // In a box, because an idle connection would pay for its size.
        Box::pin(shard.busy.called()).await;
        let full = |cx: &mut Context<'_>| Poll::Ready(shard.poll_connection(key, cx, true));
        if poll_fn(full).await == Poll::Ready(Looked::Over) {
            return;
        }
    }
}

impl Shard {
    /// One turn of a connection's task: looks at its socket until there is no more or the turn's work is done. One that has
    /// `called` stood in line has the whole turn, whatever it owes.
    fn poll_connection(self: &Rc<Self>, key: Key, cx: &mut Context<'_>, called: bool) -> Poll<Looked> {
        let mut work = 0;
        while work < work::TURN {
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
            let tools = &mut *self.tools.borrow_mut();
            let mut turn = Turn::new(self, key, &mut tools.codec, self.node.clock_ms());
            let buffer = &mut tools.read_buffer;
            // A panic in a dialect or in our own code for this connection is this connection's alone.
            let look = AssertUnwindSafe(|| connection.look(&mut turn, buffer, cx, called));
            let looked = catch_unwind(look);
            let (done, now) = (work::LOOK + turn.done.work, turn.now);
            work += done;
            connection.debt.add(done, now);
            match looked {
                Ok(Progress::Again) => {}
                Ok(Progress::Spent) => return Poll::Ready(Looked::Spent),
                Ok(Progress::Wait) => return Poll::Pending,
                Ok(Progress::Over) => return Poll::Ready(Looked::Over),
                Err(_) => {
                    if connection.phase != Phase::Open {
                        return Poll::Ready(Looked::Over);
                    }
                    connection.failed(now);
                }
            }
        }
        Poll::Ready(Looked::Spent)
    }
}

impl Connection {
    fn look(
        &mut self,
        turn: &mut Turn<'_>,
        buffer: &mut [u8],
        cx: &mut Context<'_>,
        called: bool,
    ) -> Progress {
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
            self.depart(turn.shard, turn.key);
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
        let there_is_more = self.unread.is_some()
            || self.transport.poll_read_ready(cx).is_ready()
            || self.transport.has_read_ahead();
        if !there_is_more {
            return Progress::Wait;
        }
        if !called && self.debt.is_large(turn.now) {
            return Progress::Spent;
        }
        let Some(mut unread) = self.unread.take() else {
            return self.read(buffer, turn);
        };
        let rest = self.received(&mut unread, turn);
        if rest > 0 {
            unread.advance(unread.len() - rest);
            self.unread = Some(unread);
        }
        Progress::Again
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
    pub(super) fn received(&mut self, bytes: &mut [u8], turn: &mut Turn<'_>) -> usize {
        if matches!(self.phase, Phase::Finishing { .. } | Phase::Gone) {
            return 0; // nothing that comes now has a meaning
        }
        let mut input = Input::new(bytes);
        loop {
            let (left, frames) = (input.rest().len(), input.frames());
            let taken = self.take_message(&mut input, turn);
            let frames = input.frames() - frames;
            turn.done.work += work::of_stream(left - input.rest().len(), frames);
            if self.exceeds(&taken, frames, turn.now) {
                self.end(Ending::RateLimited, turn.now);
                break;
            }
            match taken {
                Taken::NoMore => break,
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
            if self.asked > 0 || turn.done.work >= work::TURN {
                break;
            }
            if self.is_congested() {
                self.flush_or_wake();
                if self.is_congested() {
                    break;
                }
            }
        }
        if let Some(pong) = turn.done.latest_pong.take() {
            self.queue(pong, turn.now);
        }
        self.flush_or_wake();
        input.rest().len()
    }

    /// Counts the `frames` of which something was taken beyond the one that the message itself counts for: those of a message
    /// in many. Answers whether there were too many for too long.
    fn exceeds(&mut self, taken: &Taken, frames: u32, now: u64) -> bool {
        let counted = u32::from(!matches!(taken, Taken::NoMore | Taken::Bad(_)));
        (counted..frames).any(|_| self.rule(now) == Ruling::End)
    }

    /// Takes the next message. It lies in buffers that what comes of it may need, so that is left to the caller.
    fn take_message(&mut self, input: &mut Input<'_>, turn: &mut Turn<'_>) -> Taken {
        let mounted = self.successor.as_ref().unwrap_or(self.admission.dialect());
        let settings = mounted.settings();
        let limits = Limits {
            max_message_size: settings.max_message_size,
            max_fragments: settings.max_fragments,
            deflate: self.deflate,
        };
        let mut decoder = std::mem::take(&mut self.decoder);
        let open = self.phase == Phase::Open;
        let (now, done) = (turn.now, &mut turn.done);
        let taken = match decoder.next(input, &limits, &mut turn.codec.inflater) {
            Err(violation) => Taken::Bad(violation),
            Ok(None) => Taken::NoMore,
            Ok(Some(Incoming::Close(close))) => Taken::Closed(close.map(|(code, _)| code)),
            Ok(Some(Incoming::Text(text))) => self.hear(Message::Text(text), now, done),
            Ok(Some(Incoming::Binary(bytes))) => self.hear(Message::Binary(bytes), now, done),
            Ok(Some(_)) if !open => Taken::Handled,
            Ok(Some(Incoming::Ping(payload))) => self.pinged(Some(payload), now, done),
            Ok(Some(Incoming::Pong(_))) => self.pinged(None, now, done),
        };
        self.decoder = decoder;
        taken
    }

    /// Counts a frame.
    fn rule(&mut self, now: u64) -> Ruling {
        let ruling = self.meter.as_mut().map_or(Ruling::Pass, |meter| meter.rule(now));
        if ruling != Ruling::Pass {
            let counters = &self.admission.dialect().counters;
            counters.rate_limited.fetch_add(1, Relaxed);
        }
        ruling
    }

    /// The client pinged, with a payload that is to come back, or answered a ping. One over the rate gets no answer: the error
    /// that a message gets would be more work than the pong.
    fn pinged(&mut self, ping: Option<&[u8]>, now: u64, done: &mut Done) -> Taken {
        match self.rule(now) {
            Ruling::Pass => {}
            Ruling::Drop => return Taken::Handled,
            Ruling::End => return Taken::TooMuch,
        }
        self.pinged_at = now.max(1);
        if let Some(payload) = ping {
            done.pongs += 1;
            if done.pongs <= PONGS {
                self.queue(encode::pong_frame(payload), now);
            } else {
                done.latest_pong = Some(encode::pong_frame(payload));
            }
        }
        Taken::Handled
    }

    /// Hands the conversation a message, unless its client sends too many, speaks another dialect or is at its end. A message
    /// that nobody reads was decompressed and checked, too.
    fn hear(&mut self, message: Message<'_>, now: u64, done: &mut Done) -> Taken {
        done.work += work::of_message(message);
        if self.phase != Phase::Open {
            return Taken::Handled;
        }
        self.admission.dialect().counters.received.fetch_add(1, Relaxed);
        match self.rule(now) {
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
