//! From received bytes to messages.

use std::ops::Range;

use crate::header::{self, ParsedHeader};
use crate::partial::{Message, Pending, Progress};
use crate::{Incoming, Inflater, Input, Limits, Opcode, Violation, mask};

/// Reads one client's stream. It takes two machine words while no message is incomplete, which is nearly always.
#[derive(Debug, Default)]
pub struct Decoder {
    pending: Option<Box<Pending>>,
    closed: bool,
}

/// The place of a complete message, or of a control frame's payload.
#[derive(Debug)]
enum Place {
    Input(Range<usize>),
    Control,
    Message,
    Inflater,
}

impl Decoder {
    /// A decoder at the start of a stream, after the handshake.
    pub fn new() -> Self {
        Self::default()
    }

    /// Returns whether the stream is over: the client's close frame or a violation was returned.
    pub fn is_closed(&self) -> bool {
        self.closed
    }

    /// Returns whether no message is incomplete: the received bytes end at the end of a message.
    pub fn is_at_rest(&self) -> bool {
        self.pending.is_none()
    }

    /// Returns the next message from the front of `input`, or `None` when all of `input` is consumed. Call it until
    /// then: only then does it keep incomplete data. A message in one frame that is completely in `input` is not
    /// copied. Pass the same `limits` for the whole stream; between calls, `inflater` keeps only the returned message.
    ///
    /// After a close frame or an error it discards all further input.
    ///
    /// # Errors
    ///
    /// A [`Violation`] as soon as the bytes so far can not be the beginning of an acceptable stream.
    pub fn next<'a>(
        &'a mut self,
        input: &'a mut Input<'_>,
        limits: &Limits,
        inflater: &'a mut Inflater,
    ) -> Result<Option<Incoming<'a>>, Violation> {
        if self.closed {
            self.pending = None;
            input.take(usize::MAX);
            return Ok(None);
        }
        self.release();
        match self.find(input, limits, inflater) {
            Ok(None) => Ok(None),
            Ok(Some((opcode, place))) => {
                let bytes = match (place, self.pending.as_deref()) {
                    (Place::Input(range), _) => input.bytes(range),
                    (Place::Inflater, _) => inflater.message(),
                    (Place::Control, Some(pending)) => pending.control(),
                    (Place::Message, Some(pending)) => pending.message(),
                    (Place::Control | Place::Message, None) => &[],
                };
                let incoming = present(opcode, bytes);
                self.closed = matches!(incoming, Err(_) | Ok(Incoming::Close(_)));
                incoming.map(Some)
            }
            Err(violation) => {
                self.closed = true;
                self.pending = None;
                Err(violation)
            }
        }
    }

    fn release(&mut self) {
        if let Some(pending) = &mut self.pending {
            pending.release();
            if pending.is_idle() {
                self.pending = None;
            }
        }
    }

    fn find(
        &mut self,
        input: &mut Input<'_>,
        limits: &Limits,
        inflater: &mut Inflater,
    ) -> Result<Option<(Opcode, Place)>, Violation> {
        loop {
            if !self.pending.as_ref().is_some_and(|pending| pending.in_frame()) {
                let Some(header) = self.header(input, limits)? else {
                    return Ok(None);
                };
                if let Some(place) = whole(&header, input, limits, inflater)? {
                    return Ok(Some((header.opcode, place)));
                }
                self.pending.get_or_insert_default().begin(&header);
            }
            let pending = self.pending.get_or_insert_default();
            return Ok(match pending.payload(input, limits, inflater)? {
                Progress::Fragment => continue,
                Progress::NeedMore => None,
                Progress::Control(opcode) => Some((opcode, Place::Control)),
                Progress::Message(opcode) => Some((opcode, Place::Message)),
                Progress::Inflated(opcode) => Some((opcode, Place::Inflater)),
            });
        }
    }

    /// Returns the next frame's header, checked against rules and limits. Stores the bytes if it is incomplete.
    fn header(&mut self, input: &mut Input<'_>, limits: &Limits) -> Result<Option<ParsedHeader>, Violation> {
        let message = self.pending.as_ref().and_then(|pending| pending.under_way());
        let in_message = message.is_some();
        let held = self
            .pending
            .as_ref()
            .map_or(0, |pending| pending.held.bytes().len());
        let header = if held == 0 {
            header::parse(input.rest(), in_message, limits)?
        } else {
            let pending = self.pending.get_or_insert_default();
            pending.held.top_up(input.rest());
            header::parse(pending.held.bytes(), in_message, limits)?
        };
        let Some(header) = header else {
            if held == 0 && !input.rest().is_empty() {
                self.pending.get_or_insert_default().held.top_up(input.rest());
            }
            input.take(usize::MAX);
            return Ok(None);
        };
        input.take(header.size - held);
        input.begin_frame();
        if let Some(pending) = &mut self.pending {
            pending.held.clear();
        }
        if !header.opcode.is_control() {
            let message = self.pending.as_ref().and_then(|pending| pending.under_way());
            Message::check(message, &header, limits)?;
        }
        Ok(Some(header))
    }
}

/// Borrows the payload from the input if it has all of it and the message has no other part.
fn whole(
    header: &ParsedHeader,
    input: &mut Input<'_>,
    limits: &Limits,
    inflater: &mut Inflater,
) -> Result<Option<Place>, Violation> {
    let alone = header.fin && header.opcode != Opcode::Continuation;
    let len = match usize::try_from(header.len) {
        Ok(len) if alone && len <= input.rest().len() => len,
        _ => return Ok(None),
    };
    let place = input.take(len);
    mask::apply(input.bytes_mut(place.clone()), header.key);
    if !header.compressed {
        return Ok(Some(Place::Input(place)));
    }
    inflater.inflate(
        input.bytes(place),
        header.opcode == Opcode::Text,
        limits.max_message_size,
    )?;
    Ok(Some(Place::Inflater))
}

fn present(opcode: Opcode, bytes: &[u8]) -> Result<Incoming<'_>, Violation> {
    Ok(match opcode {
        Opcode::Text => Incoming::Text(text(bytes)?),
        Opcode::Binary | Opcode::Continuation => Incoming::Binary(bytes),
        Opcode::Ping => Incoming::Ping(bytes),
        Opcode::Pong => Incoming::Pong(bytes),
        Opcode::Close => Incoming::Close(close(bytes)?),
    })
}

fn text(bytes: &[u8]) -> Result<&str, Violation> {
    simdutf8::basic::from_utf8(bytes).map_err(|_| Violation::NotUtf8)
}

/// The code and reason in a close frame's payload (RFC 6455, section 7.4, and IANA's registry of codes).
fn close(payload: &[u8]) -> Result<Option<(u16, &str)>, Violation> {
    let Some((code, reason)) = payload.split_first_chunk::<2>() else {
        return if payload.is_empty() {
            Ok(None)
        } else {
            Err(Violation::Protocol("close code is cut off"))
        };
    };
    match u16::from_be_bytes(*code) {
        code @ (1000..=1003 | 1007..=1014 | 3000..=4999) => Ok(Some((code, text(reason)?))),
        _ => Err(Violation::Protocol("close code is not allowed")),
    }
}
