//! The state that a connection keeps between two reads if a header, a frame or a message is incomplete.

use crate::header::{self, MAX_HEADER, ParsedHeader};
use crate::utf8::Utf8;
use crate::{Inflater, Input, Limits, Opcode, Violation, deflate, mask};

/// The bytes of an incomplete header.
#[derive(Debug, Default)]
pub(crate) struct Held {
    bytes: [u8; MAX_HEADER],
    len: u8,
}

impl Held {
    pub(crate) fn bytes(&self) -> &[u8] {
        &self.bytes[..usize::from(self.len)]
    }

    /// Copies from the front of `more` until a header of any kind would be complete.
    pub(crate) fn top_up(&mut self, more: &[u8]) {
        for (place, &byte) in self.bytes[usize::from(self.len)..].iter_mut().zip(more) {
            *place = byte;
            self.len += 1;
        }
    }

    pub(crate) fn clear(&mut self) {
        self.len = 0;
    }
}

/// A frame whose header is read and whose payload is not all here.
#[derive(Debug, Clone, Copy)]
struct Frame {
    opcode: Opcode,
    fin: bool,
    /// Payload bytes still to come.
    left: usize,
    /// Masking key for the next of them.
    key: [u8; 4],
}

/// A data message under way: fragmented, or in one frame that is not all here.
#[derive(Debug)]
pub(crate) struct Message {
    text: bool,
    compressed: bool,
    fragments: usize,
    /// Unmasked, and still compressed if it arrived so: inflating waits for the last byte because the inflater is
    /// shared, and one inflater per half-sent message would cost far more memory than the client spends.
    bytes: Vec<u8>,
    utf8: Utf8,
}

impl Message {
    /// Checks the next fragment against the limits; `message` has the earlier fragments.
    pub(crate) fn check(
        message: Option<&Self>,
        header: &ParsedHeader,
        limits: &Limits,
    ) -> Result<(), Violation> {
        let (fragments, had) = message.map_or((0, 0), |message| (message.fragments, message.bytes.len()));
        if fragments >= limits.max_fragments.max(1) {
            return Err(Violation::TooManyFragments);
        }
        let most = ceiling(
            message.map_or(header.compressed, |message| message.compressed),
            limits,
        );
        match usize::try_from(header.len) {
            Ok(len) if len <= most.saturating_sub(had) => Ok(()),
            _ => Err(Violation::TooBig),
        }
    }

    fn add(&mut self, bytes: &[u8], frame: Frame, limits: &Limits) -> Result<(), Violation> {
        if self.text && !self.compressed {
            self.utf8.feed(bytes)?;
        }
        let needed = self.bytes.len() + bytes.len();
        if needed > self.bytes.capacity() {
            // Doubling keeps copying linear. It follows the received bytes, never the announced ones, and stops at the
            // message's known end.
            let end = if frame.fin {
                needed + frame.left
            } else {
                ceiling(self.compressed, limits)
            };
            let target = self.bytes.capacity().saturating_mul(2).min(end).max(needed);
            self.bytes.reserve_exact(target - self.bytes.len());
        }
        self.bytes.extend_from_slice(bytes);
        Ok(())
    }
}

/// How many payload bytes a message may have on the wire.
fn ceiling(compressed: bool, limits: &Limits) -> usize {
    if compressed {
        deflate::longest_compressed(limits.max_message_size)
    } else {
        limits.max_message_size
    }
}

/// The message that the decoder returned last; the next call drops it.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
enum Lent {
    #[default]
    Nothing,
    Control,
    Message,
}

/// The progress of reading a frame's payload.
#[derive(Debug)]
pub(crate) enum Progress {
    /// The input is used up.
    NeedMore,
    /// The frame is complete, its message continues.
    Fragment,
    /// A control frame is complete, in [`Pending::control`].
    Control(Opcode),
    /// A message is complete, in [`Pending::message`].
    Message(Opcode),
    /// A message is complete, in the inflater.
    Inflated(Opcode),
}

/// The rare state: exists only while something is incomplete.
#[derive(Debug, Default)]
pub(crate) struct Pending {
    pub(crate) held: Held,
    frame: Option<Frame>,
    control: Vec<u8>,
    message: Option<Message>,
    lent: Lent,
}

impl Pending {
    /// Drops the message that the last call returned.
    pub(crate) fn release(&mut self) {
        match std::mem::take(&mut self.lent) {
            Lent::Nothing => {}
            Lent::Control => self.control = Vec::new(),
            Lent::Message => self.message = None,
        }
    }

    /// Whether nothing is incomplete, so that this state need not be kept.
    pub(crate) fn is_idle(&self) -> bool {
        self.lent == Lent::Nothing
            && self.held.bytes().is_empty()
            && self.frame.is_none()
            && self.message.is_none()
    }

    pub(crate) fn in_frame(&self) -> bool {
        self.frame.is_some()
    }

    pub(crate) fn under_way(&self) -> Option<&Message> {
        self.message.as_ref()
    }

    pub(crate) fn control(&self) -> &[u8] {
        &self.control
    }

    pub(crate) fn message(&self) -> &[u8] {
        self.message.as_ref().map_or(&[], |message| &message.bytes)
    }

    /// Starts on a frame's payload. The header was checked.
    pub(crate) fn begin(&mut self, header: &ParsedHeader) {
        match header.opcode {
            Opcode::Text | Opcode::Binary => {
                self.message = Some(Message {
                    text: header.opcode == Opcode::Text,
                    compressed: header.compressed,
                    fragments: 1,
                    bytes: Vec::new(),
                    utf8: Utf8::default(),
                });
            }
            Opcode::Continuation => {
                if let Some(message) = &mut self.message {
                    message.fragments += 1;
                }
            }
            Opcode::Close | Opcode::Ping | Opcode::Pong => {}
        }
        // The limits keep the length far inside usize.
        let left = usize::try_from(header.len).unwrap_or(usize::MAX);
        self.frame = Some(Frame {
            opcode: header.opcode,
            fin: header.fin,
            left,
            key: header.key,
        });
    }

    /// Takes the available part of the frame's payload.
    pub(crate) fn payload(
        &mut self,
        input: &mut Input<'_>,
        limits: &Limits,
        inflater: &mut Inflater,
    ) -> Result<Progress, Violation> {
        let Some(mut frame) = self.frame.take() else {
            return Ok(Progress::Fragment);
        };
        let place = input.take(frame.left);
        frame.left -= place.len();
        let bytes = input.bytes_mut(place);
        mask::apply(bytes, frame.key);
        frame.key = mask::after(frame.key, bytes.len());
        if frame.opcode.is_control() {
            self.control.extend_from_slice(bytes);
        } else if let Some(message) = &mut self.message {
            message.add(bytes, frame, limits)?;
        }
        if frame.left > 0 {
            self.frame = Some(frame);
            return Ok(Progress::NeedMore);
        }
        self.frame_ended(frame, limits, inflater)
    }

    fn frame_ended(
        &mut self,
        frame: Frame,
        limits: &Limits,
        inflater: &mut Inflater,
    ) -> Result<Progress, Violation> {
        if frame.opcode.is_control() {
            self.lent = Lent::Control;
            return Ok(Progress::Control(frame.opcode));
        }
        if !frame.fin {
            return Ok(Progress::Fragment);
        }
        let Some(message) = &self.message else {
            return Ok(Progress::Fragment);
        };
        let opcode = if message.text {
            Opcode::Text
        } else {
            Opcode::Binary
        };
        if message.compressed {
            inflater.inflate(&message.bytes, message.text, limits.max_message_size)?;
            self.message = None;
            return Ok(Progress::Inflated(opcode));
        }
        message.utf8.finish()?;
        self.lent = Lent::Message;
        Ok(Progress::Message(opcode))
    }
}

const _: () = assert!(header::MAX_CONTROL < 126, "control payloads are kept whole");
