//! Decodes received bytes into messages.

use std::ops::Range;

use crate::header::{self, ParsedHeader};
use crate::partial::{Message, Pending, Progress};
use crate::{Incoming, Inflater, Input, Limits, Opcode, Violation, mask};

/// The decoder of one client's stream. It takes two machine words unless a message is incomplete, which is rare.
#[derive(Debug, Default)]
pub struct Decoder {
    pending: Option<Box<Pending>>,
    closed: bool,
}

/// The place of the bytes of a complete message or control frame.
#[derive(Debug)]
enum Place {
    Input(Range<usize>),
    Pending,
    Inflater,
}

impl Decoder {
    /// Returns a decoder for the stream after the handshake.
    pub fn new() -> Self {
        Self::default()
    }

    /// Returns `true` if the stream has ended, by a close frame or a violation.
    pub fn is_closed(&self) -> bool {
        self.closed
    }

    #[cfg(test)]
    pub(crate) fn is_at_rest(&self) -> bool {
        self.pending.is_none()
    }

    /// Returns the next message of `input`, or `None` at its end. Call it until then, because only then is incomplete
    /// data stored. A message in one frame is not copied if `input` has all of it. Pass the same `limits` for the whole
    /// stream. Between two calls, `inflater` has only the returned message.
    ///
    /// After a close frame or an error, all further input is skipped.
    ///
    /// # Errors
    ///
    /// Returns a [`Violation`] as soon as no acceptable stream can begin with the bytes so far.
    pub fn next<'a>(
        &'a mut self,
        input: &'a mut Input<'_>,
        limits: &Limits,
        inflater: &'a mut Inflater,
    ) -> Result<Option<Incoming<'a>>, Violation> {
        if self.closed {
            self.pending = None;
            input.discard();
            return Ok(None);
        }
        if self.pending.as_mut().is_some_and(|pending| pending.release()) {
            self.pending = None;
        }
        match self.find(input, limits, inflater) {
            Ok(None) => Ok(None),
            Ok(Some((opcode, place))) => {
                let bytes = match (place, self.pending.as_deref()) {
                    (Place::Input(range), _) => input.bytes(range),
                    (Place::Inflater, _) => inflater.message(),
                    (Place::Pending, Some(pending)) => pending.complete(),
                    (Place::Pending, None) => &[],
                };
                let incoming = incoming(opcode, bytes);
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
                if let Some(place) = single_frame(&header, input, limits, inflater)? {
                    return Ok(Some((header.opcode, place)));
                }
                self.pending.get_or_insert_default().begin(&header);
            }
            let pending = self.pending.get_or_insert_default();
            return Ok(match pending.payload(input, limits, inflater)? {
                Progress::Fragment => continue,
                Progress::NeedMore => None,
                Progress::Complete(opcode) => Some((opcode, Place::Pending)),
                Progress::Inflated(opcode) => Some((opcode, Place::Inflater)),
            });
        }
    }

    /// Returns the next frame's header, checked against rules and limits. Stores an incomplete one.
    fn header(&mut self, input: &mut Input<'_>, limits: &Limits) -> Result<Option<ParsedHeader>, Violation> {
        let pending = self.pending.as_deref();
        let in_message = pending.is_some_and(|pending| pending.message().is_some());
        let stored = pending.map_or(0, |pending| pending.header.bytes().len());
        let header = if stored == 0 {
            header::parse(input.rest(), in_message, limits)?
        } else {
            let pending = self.pending.get_or_insert_default();
            pending.header.top_up(input.rest());
            header::parse(pending.header.bytes(), in_message, limits)?
        };
        let Some(header) = header else {
            if stored == 0 && !input.rest().is_empty() {
                self.pending.get_or_insert_default().header.top_up(input.rest());
            }
            input.discard();
            return Ok(None);
        };
        input.take(header.size - stored);
        input.begin_frame();
        if let Some(pending) = &mut self.pending {
            pending.header.clear();
        }
        if !header.opcode.is_control() {
            let message = self.pending.as_ref().and_then(|pending| pending.message());
            Message::check(message, &header, limits)?;
        }
        Ok(Some(header))
    }
}

/// Returns the place of a message in one frame if `input` has all of its payload.
fn single_frame(
    header: &ParsedHeader,
    input: &mut Input<'_>,
    limits: &Limits,
    inflater: &mut Inflater,
) -> Result<Option<Place>, Violation> {
    let is_single = header.fin && header.opcode != Opcode::Continuation;
    let len = match usize::try_from(header.len) {
        Ok(len) if is_single && len <= input.rest().len() => len,
        _ => return Ok(None),
    };
    let range = input.take(len);
    mask::apply(input.bytes_mut(range.clone()), header.key);
    if !header.compressed {
        return Ok(Some(Place::Input(range)));
    }
    inflater.inflate(
        input.bytes(range),
        header.opcode == Opcode::Text,
        limits.max_message_size,
    )?;
    Ok(Some(Place::Inflater))
}

fn incoming(opcode: Opcode, bytes: &[u8]) -> Result<Incoming<'_>, Violation> {
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

/// Returns the code and reason of a close frame (RFC 6455, section 7.4, and IANA's registry of codes).
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
