//! Reads messages from a client's bytes, as many as one turn allows.

use std::sync::atomic::Ordering::Relaxed;

use bytes::Bytes;
use fanfare_core::{Ending, Message, Steps};
use fanfare_ws::{Incoming, Input, Opcode, Violation, encode};

use super::{Connection, meter::Ruling};
use crate::{clock::Moment, codec::Codec, work};

/// The pings that are answered one by one in one turn. Of further ones only the latest is answered, as RFC 6455 allows (section
/// 5.5.3), so a flood of pings causes no flood of pongs.
const PONGS: u32 = 16;

/// The next message of a client's stream.
pub(crate) enum Received {
    /// There is no complete message, or no more is read in this turn.
    Nothing,
    /// A message, and the conversation's steps for it.
    Steps(Steps),
    /// A message of the dialect that the client may turn out to speak.
    Foreign(Box<str>),
    /// A ping, and the pong to be queued.
    Ping(Bytes),
}

#[derive(Default)]
pub(crate) struct Done {
    pub(crate) work: u64,
    /// The number of answered pings.
    pongs: u32,
    /// The answer to the latest of the pings beyond [`PONGS`].
    latest_pong: Option<Bytes>,
}

/// The next item of a client's stream.
enum Taken {
    /// There is no complete message.
    NoMore,
    /// A message or a frame.
    Read(Received),
    /// The close frame, and its code.
    Closed(Option<u16>),
    /// A violation of the protocol.
    Bad(Violation),
}

impl Received {
    const NOTHING_TO_DO: Self = Self::Steps(Steps::new());
}

impl Done {
    /// Takes the pong that is due at the end of the turn.
    pub(crate) fn take_pong(&mut self) -> Option<Bytes> {
        self.latest_pong.take()
    }
}

/// Takes the next message from `input`. Call it until it returns [`Received::Nothing`].
pub(crate) fn receive(
    own: &mut Connection,
    input: &mut Input<'_>,
    codec: &mut Codec,
    moment: Moment,
    done: &mut Done,
) -> Received {
    let (left, frames) = (input.rest().len(), input.frames());
    if own.framing().is_body() {
        input.discard(); // bytes behind its request have no meaning
        done.work += work::of_stream(left, 0);
        return Received::Nothing;
    }
    let taken = take_message(own, input, codec, moment, done);
    let frames = input.frames() - frames;
    done.work += work::of_stream(left - input.rest().len(), frames);
    if exceeds(own, &taken, frames, moment.ms) {
        if let Taken::Read(Received::Ping(pong)) = taken {
            own.queue(pong, moment); // the ping itself was within the rate
        }
        own.end(Ending::RateLimited, moment);
        return Received::Nothing;
    }
    match taken {
        Taken::NoMore => {}
        Taken::Read(received) => return received,
        Taken::Closed(code) => own.closed_by_client(code, input.rest().is_empty(), moment.ms),
        Taken::Bad(violation) => own.violated(violation, moment.ms),
    }
    Received::Nothing
}

/// Counts the further `frames` of a message in several frames: the message itself counts for one. Returns whether the client was
/// over its rate for too long.
fn exceeds(own: &mut Connection, taken: &Taken, frames: u32, now: u64) -> bool {
    let counted = u32::from(!matches!(taken, Taken::NoMore | Taken::Bad(_)));
    (counted..frames).any(|_| rule(own, now) == Ruling::End)
}

/// Takes the next message. The caller performs its steps, because they may need the buffers that it lies in.
fn take_message(
    own: &mut Connection,
    input: &mut Input<'_>,
    codec: &mut Codec,
    moment: Moment,
    done: &mut Done,
) -> Taken {
    let limits = own.limits();
    let mut decoder = std::mem::take(&mut own.decoder);
    let is_open = own.is_open();
    let taken = match decoder.next(input, &limits, &mut codec.inflater) {
        Err(violation) => Taken::Bad(violation),
        Ok(None) => Taken::NoMore,
        Ok(Some(Incoming::Close(close))) => Taken::Closed(close.map(|(code, _)| code)),
        Ok(Some(incoming)) => Taken::Read(match incoming {
            Incoming::Text(text) => on_message(own, Message::Text(text), moment, done),
            Incoming::Binary(bytes) => on_message(own, Message::Binary(bytes), moment, done),
            Incoming::Ping(payload) if is_open => on_ping(own, Some(payload), moment, done),
            Incoming::Pong(_) if is_open => on_ping(own, None, moment, done),
            _ => Received::NOTHING_TO_DO,
        }),
    };
    own.decoder = decoder;
    taken
}

fn rule(own: &mut Connection, now: u64) -> Ruling {
    let meter = own.meter.as_mut();
    let ruling = meter.map_or(Ruling::Pass, |meter| meter.rule(now));
    if ruling != Ruling::Pass {
        own.mounted().counters.rate_limited.fetch_add(1, Relaxed);
    }
    ruling
}

/// Ends a client that was over its rate for too long.
fn too_much(own: &mut Connection, moment: Moment) -> Received {
    own.end(Ending::RateLimited, moment);
    Received::NOTHING_TO_DO
}

/// Handles a ping, with the payload of its pong, or a pong. A ping over the rate gets no answer: an error message would be more
/// work than the pong.
fn on_ping(own: &mut Connection, payload: Option<&[u8]>, moment: Moment, done: &mut Done) -> Received {
    match rule(own, moment.ms) {
        Ruling::Pass => {}
        Ruling::Drop => return Received::NOTHING_TO_DO,
        Ruling::End => return too_much(own, moment),
    }
    own.liveness.pinged(moment.ms);
    if let Some(payload) = payload {
        let pong = encode::frame(Opcode::Pong, payload, false);
        done.pongs += 1;
        if done.pongs <= PONGS {
            return Received::Ping(pong);
        }
        done.latest_pong = Some(pong);
    }
    Received::NOTHING_TO_DO
}

/// Passes the conversation a message, unless its client sends too many, speaks another dialect or has ended. Each message counts as
/// work, because it was decompressed and checked.
fn on_message(own: &mut Connection, message: Message<'_>, moment: Moment, done: &mut Done) -> Received {
    done.work += work::of_message(message);
    if !own.is_open() {
        return Received::NOTHING_TO_DO;
    }
    own.mounted().counters.received.fetch_add(1, Relaxed);
    match rule(own, moment.ms) {
        Ruling::Pass => {}
        Ruling::Drop => {
            return Received::Steps(own.think(moment, |talk, context, steps| talk.limited(context, steps)));
        }
        Ruling::End => return too_much(own, moment),
    }
    if let (Some(successor), Message::Text(text)) = (&own.successor, message)
        && successor.dialect.recognizes(text)
    {
        return Received::Foreign(text.into());
    }
    Received::Steps(own.message(message, moment))
}

impl Connection {
    /// Handles the client's close frame, and answers it unless it is an answer. `is_last` is whether nothing came behind it.
    fn closed_by_client(&mut self, code: Option<u16>, is_last: bool, now: u64) {
        if self.is_open() {
            self.close_code = code.unwrap_or(1005);
            self.push(match code {
                Some(code) => encode::close_frame(code, ""),
                None => encode::frame(Opcode::Close, b"", false),
            });
        }
        self.is_lost = false;
        self.finish(is_last, now);
    }

    /// Handles a violation of the protocol: queues a close frame and reads no more.
    fn violated(&mut self, violation: Violation, now: u64) {
        tracing::debug!(
            connection = self.number,
            reason = violation.reason(),
            "protocol violation"
        );
        self.mounted().counters.errors.fetch_add(1, Relaxed);
        self.close(violation.close_code(), violation.reason(), now);
        self.finish(false, now);
    }
}
