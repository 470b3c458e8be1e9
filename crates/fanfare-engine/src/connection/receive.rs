//! Reads messages from a client's bytes.

use std::sync::atomic::Ordering::Relaxed;

use bytes::Bytes;
use fanfare_core::{Ending, Message, Steps};
use fanfare_ws::{Incoming, Input, Opcode, Violation, encode};

use super::{Connection, meter::RateVerdict};
use crate::{clock::Moment, codec::Codec, work};

/// The pings that are answered one by one in one turn. Of further pings only the latest is answered, as RFC 6455 allows (section
/// 5.5.3), so that a flood of pings causes no flood of pongs.
const PONGS: u32 = 16;

/// The next message of a client's stream.
pub(crate) enum Received {
    /// There is no complete message, or nothing more is read in this turn.
    Nothing,
    /// A message, and the conversation's steps for it.
    Steps(Steps),
    /// A message that the guest of the path has recognised.
    OtherDialect(Box<str>),
    /// A ping, and its pong.
    Ping(Bytes),
}

/// The work of a turn and its pongs.
#[derive(Default)]
pub(crate) struct TurnTotals {
    pub(crate) work: u64,
    /// The number of answered pings.
    pongs: u32,
    /// The pong for the latest of the pings beyond [`PONGS`].
    latest_pong: Option<Bytes>,
}

/// The next item of a client's stream.
enum Decoded {
    /// There is no complete message.
    NoMore,
    /// A message or a frame.
    Received(Received),
    /// The close frame, and its code.
    Closed(Option<u16>),
    /// A violation of the protocol.
    Bad(Violation),
}

impl Received {
    const NOTHING_TO_DO: Self = Self::Steps(Steps::new());
}

impl TurnTotals {
    /// Takes the pong that must be queued at the end of the turn.
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
    totals: &mut TurnTotals,
) -> Received {
    let (left, frames) = (input.rest().len(), input.frames());
    if own.framing().is_body() {
        input.discard(); // its client has nothing to send behind its request
        totals.work += work::of_stream(left, 0);
        return Received::Nothing;
    }
    let taken = take_message(own, input, codec, moment, totals);
    let frames = input.frames() - frames;
    totals.work += work::of_stream(left - input.rest().len(), frames);
    if exceeds(own, &taken, frames, moment.ms) {
        if let Decoded::Received(Received::Ping(pong)) = taken {
            own.queue(pong, moment); // the ping itself was within the rate
        }
        own.end(Ending::RateLimited, moment);
        return Received::Nothing;
    }
    match taken {
        Decoded::NoMore => {}
        Decoded::Received(received) => return received,
        Decoded::Closed(code) => own.on_close_frame(code, input.rest().is_empty(), moment.ms),
        Decoded::Bad(violation) => own.on_violation(violation, moment.ms),
    }
    Received::Nothing
}

/// Counts the `frames` of a message beyond the first, which counts as the message. Returns whether the client was over its rate
/// for too long.
fn exceeds(own: &mut Connection, taken: &Decoded, frames: u32, now: u64) -> bool {
    let counted = u32::from(!matches!(taken, Decoded::NoMore | Decoded::Bad(_)));
    (counted..frames).any(|_| check_rate(own, now) == RateVerdict::End)
}

/// Takes the next message. The caller performs its steps, because they may need the buffers that the message borrows.
fn take_message(
    own: &mut Connection,
    input: &mut Input<'_>,
    codec: &mut Codec,
    moment: Moment,
    totals: &mut TurnTotals,
) -> Decoded {
    let limits = own.limits();
    let mut decoder = std::mem::take(&mut own.decoder);
    let is_open = own.is_open();
    let taken = match decoder.next(input, &limits, &mut codec.inflater) {
        Err(violation) => Decoded::Bad(violation),
        Ok(None) => Decoded::NoMore,
        Ok(Some(Incoming::Close(close))) => Decoded::Closed(close.map(|(code, _)| code)),
        Ok(Some(incoming)) => Decoded::Received(match incoming {
            Incoming::Text(text) => on_message(own, Message::Text(text), moment, totals),
            Incoming::Binary(bytes) => on_message(own, Message::Binary(bytes), moment, totals),
            Incoming::Ping(payload) if is_open => on_ping(own, Some(payload), moment, totals),
            Incoming::Pong(_) if is_open => on_ping(own, None, moment, totals),
            _ => Received::NOTHING_TO_DO,
        }),
    };
    own.decoder = decoder;
    taken
}

fn check_rate(own: &mut Connection, now: u64) -> RateVerdict {
    let meter = own.meter.as_mut();
    let ruling = meter.map_or(RateVerdict::Pass, |meter| meter.check(now));
    if ruling != RateVerdict::Pass {
        own.mounted().counters.rate_limited.fetch_add(1, Relaxed);
    }
    ruling
}

/// Ends a client that was over its rate for too long.
fn end_over_rate(own: &mut Connection, moment: Moment) -> Received {
    own.end(Ending::RateLimited, moment);
    Received::NOTHING_TO_DO
}

/// Handles a ping, with the payload of its pong, or a pong. A ping over the rate gets no answer: an error message would be more
/// work than the pong.
fn on_ping(
    own: &mut Connection,
    payload: Option<&[u8]>,
    moment: Moment,
    totals: &mut TurnTotals,
) -> Received {
    match check_rate(own, moment.ms) {
        RateVerdict::Pass => {}
        RateVerdict::Drop => return Received::NOTHING_TO_DO,
        RateVerdict::End => return end_over_rate(own, moment),
    }
    own.liveness.pinged(moment.ms);
    if let Some(payload) = payload {
        let pong = encode::frame(Opcode::Pong, payload, false);
        totals.pongs += 1;
        if totals.pongs <= PONGS {
            return Received::Ping(pong);
        }
        totals.latest_pong = Some(pong);
    }
    Received::NOTHING_TO_DO
}

/// Passes the conversation a message, unless the client is over its rate, the guest recognises the message, or the connection has
/// ended. Each message counts as work, because it was decompressed and checked.
fn on_message(
    own: &mut Connection,
    message: Message<'_>,
    moment: Moment,
    totals: &mut TurnTotals,
) -> Received {
    totals.work += work::of_message(message);
    if !own.is_open() {
        return Received::NOTHING_TO_DO;
    }
    own.mounted().counters.received.fetch_add(1, Relaxed);
    match check_rate(own, moment.ms) {
        RateVerdict::Pass => {}
        RateVerdict::Drop => {
            return Received::Steps(own.call_conversation(moment, |conversation, context, steps| {
                conversation.limited(context, steps);
            }));
        }
        RateVerdict::End => return end_over_rate(own, moment),
    }
    if let (Some(guest), Message::Text(text)) = (&own.guest, message)
        && guest.dialect.recognizes(text)
    {
        return Received::OtherDialect(text.into());
    }
    Received::Steps(own.message(message, moment))
}

impl Connection {
    /// Handles the client's close frame, and answers it unless it is an answer. `is_last` is whether no bytes follow it.
    fn on_close_frame(&mut self, code: Option<u16>, is_last: bool, now: u64) {
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
    fn on_violation(&mut self, violation: Violation, now: u64) {
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
