//! Bytes from a client: what a connection makes of each message, and how much of them it takes in one turn.

use std::sync::atomic::Ordering::Relaxed;

use bytes::Bytes;
use fanfare_core::{Ending, Message, Steps};
use fanfare_ws::{Incoming, Input, Violation, encode};

use super::{Connection, meter::Ruling};
use crate::{clock::Moment, codec::Codec, work};

/// Pings that are answered one by one in one turn. Of more only the latest is, as RFC 6455 allows (section 5.5.3): a flood of
/// pings is no flood of pongs.
const PONGS: u32 = 16;

/// What was read of a client's stream.
pub(crate) enum Received {
    /// No whole message is there, or what follows is not read in this turn.
    Nothing,
    /// Something, and what the conversation wants done for it.
    Steps(Steps),
    /// A message of the dialect that this connection may turn out to speak.
    Foreign(Box<str>),
    /// A ping, and the pong to be queued.
    Ping(Bytes),
}

/// What was done in a turn.
#[derive(Default)]
pub(crate) struct Done {
    /// See [`work`].
    pub(crate) work: u64,
    /// Pings that were answered.
    pongs: u32,
    /// The answer to the latest of the pings beyond [`PONGS`].
    latest_pong: Option<Bytes>,
}

/// What was taken from a client's stream.
enum Taken {
    /// No whole message is there.
    NoMore,
    /// Something that is dealt with already.
    Handled,
    /// A message, and what the conversation wants done for it.
    Message(Steps),
    /// A message of the dialect that this connection may turn out to speak.
    Foreign(Box<str>),
    /// A ping, and its pong.
    Ping(Bytes),
    /// A message over the rate.
    Dropped,
    /// One of too many over the rate.
    TooMuch,
    /// The close frame, and its code.
    Closed(Option<u16>),
    /// Something that makes no sense.
    Bad(Violation),
}

impl Done {
    /// The pong that is due at the end of the turn.
    pub(crate) fn take_pong(&mut self) -> Option<Bytes> {
        self.latest_pong.take()
    }
}

/// Takes the next message from `input`. To be repeated until it returns [`Received::Nothing`].
pub(crate) fn receive(
    own: &mut Connection,
    input: &mut Input<'_>,
    codec: &mut Codec,
    moment: Moment,
    done: &mut Done,
) -> Received {
    let (left, frames) = (input.rest().len(), input.frames());
    let taken = take_message(own, input, codec, moment, done);
    let frames = input.frames() - frames;
    done.work += work::of_stream(left - input.rest().len(), frames);
    if exceeds(own, &taken, frames, moment.ms) {
        if let Taken::Ping(pong) = taken {
            own.queue(pong, moment); // the ping itself was within the rate
        }
        own.end(Ending::RateLimited, moment);
        return Received::Nothing;
    }
    Received::Steps(match taken {
        Taken::NoMore => return Received::Nothing,
        Taken::Foreign(text) => return Received::Foreign(text),
        Taken::Ping(pong) => return Received::Ping(pong),
        Taken::Message(steps) => steps,
        Taken::Dropped => own.think(moment, |talk, context, steps| talk.limited(context, steps)),
        Taken::Handled => Steps::new(),
        Taken::TooMuch => {
            own.end(Ending::RateLimited, moment);
            Steps::new()
        }
        Taken::Closed(code) => {
            own.closed_by_client(code, moment.ms);
            return Received::Nothing;
        }
        Taken::Bad(violation) => {
            own.violated(violation, moment.ms);
            return Received::Nothing;
        }
    })
}

/// Counts the `frames` of which something was taken beyond the one that the message itself counts for: those of a message
/// in many. Returns whether there were too many for too long.
fn exceeds(own: &mut Connection, taken: &Taken, frames: u32, now: u64) -> bool {
    let counted = u32::from(!matches!(taken, Taken::NoMore | Taken::Bad(_)));
    (counted..frames).any(|_| rule(own, now) == Ruling::End)
}

/// Takes the next message. It lies in buffers that what comes of it may need, so that is left to the caller.
fn take_message(
    own: &mut Connection,
    input: &mut Input<'_>,
    codec: &mut Codec,
    moment: Moment,
    done: &mut Done,
) -> Taken {
    let limits = own.dialogue.limits(own.admission.dialect());
    let mut decoder = std::mem::take(&mut own.dialogue.decoder);
    let is_open = own.is_open();
    let taken = match decoder.next(input, &limits, &mut codec.inflater) {
        Err(violation) => Taken::Bad(violation),
        Ok(None) => Taken::NoMore,
        Ok(Some(Incoming::Close(close))) => Taken::Closed(close.map(|(code, _)| code)),
        Ok(Some(Incoming::Text(text))) => on_message(own, Message::Text(text), moment, done),
        Ok(Some(Incoming::Binary(bytes))) => on_message(own, Message::Binary(bytes), moment, done),
        Ok(Some(_)) if !is_open => Taken::Handled,
        Ok(Some(Incoming::Ping(payload))) => on_ping(own, Some(payload), moment, done),
        Ok(Some(Incoming::Pong(_))) => on_ping(own, None, moment, done),
    };
    own.dialogue.decoder = decoder;
    taken
}

/// Counts a frame.
fn rule(own: &mut Connection, now: u64) -> Ruling {
    let ruling = own.dialogue.rule(now);
    if ruling != Ruling::Pass {
        own.mounted().counters.rate_limited.fetch_add(1, Relaxed);
    }
    ruling
}

/// The client pinged, with a payload that is to come back, or answered a ping. One over the rate gets no answer: the error
/// that a message gets would be more work than the pong.
fn on_ping(own: &mut Connection, payload: Option<&[u8]>, moment: Moment, done: &mut Done) -> Taken {
    match rule(own, moment.ms) {
        Ruling::Pass => {}
        Ruling::Drop => return Taken::Handled,
        Ruling::End => return Taken::TooMuch,
    }
    own.liveness.pinged(moment.ms);
    if let Some(payload) = payload {
        let pong = encode::pong_frame(payload);
        done.pongs += 1;
        if done.pongs <= PONGS {
            return Taken::Ping(pong);
        }
        done.latest_pong = Some(pong);
    }
    Taken::Handled
}

/// Hands the conversation a message, unless its client sends too many, speaks another dialect or is at its end. A message
/// that is not handed on was decompressed and checked, too.
fn on_message(own: &mut Connection, message: Message<'_>, moment: Moment, done: &mut Done) -> Taken {
    done.work += work::of_message(message);
    if !own.is_open() {
        return Taken::Handled;
    }
    own.mounted().counters.received.fetch_add(1, Relaxed);
    match rule(own, moment.ms) {
        Ruling::Pass => {}
        Ruling::Drop => return Taken::Dropped,
        Ruling::End => return Taken::TooMuch,
    }
    if let (Some(successor), Message::Text(text)) = (&own.dialogue.successor, message)
        && successor.dialect.recognizes(text)
    {
        return Taken::Foreign(text.into());
    }
    Taken::Message(own.message(message, moment))
}

impl Connection {
    /// The client sent its close frame: answers it, if it is not itself an answer.
    fn closed_by_client(&mut self, code: Option<u16>, now: u64) {
        if self.is_open() {
            self.close_code = code.unwrap_or(1005);
            self.outbox.push(match code {
                Some(code) => encode::close_frame(code, ""),
                None => encode::empty_close_frame(),
            });
        }
        self.is_lost = false;
        self.finish(now);
    }

    /// The client's stream makes no sense: sends a close frame behind what is queued and reads no more.
    fn violated(&mut self, violation: Violation, now: u64) {
        tracing::debug!(
            connection = self.number,
            reason = violation.reason(),
            "protocol violation"
        );
        self.mounted().counters.errors.fetch_add(1, Relaxed);
        self.close(violation.close_code(), violation.reason(), now);
        self.finish(now);
    }
}
