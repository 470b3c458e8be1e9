//! The state of a decoder between two reads while a header, a frame or a message is incomplete.

use std::mem;

use crate::header::{self, MAX_HEADER, ParsedHeader};
use crate::utf8::Utf8;
use crate::{Inflater, Input, Limits, Opcode, Violation, deflate, mask};

/// The bytes of an incomplete header.
#[derive(Debug, Default)]
pub(crate) struct HeaderBytes {
    bytes: [u8; MAX_HEADER],
    len: u8,
}

impl HeaderBytes {
    pub(crate) fn bytes(&self) -> &[u8] {
        &self.bytes[..usize::from(self.len)]
    }

    /// Copies bytes from the front of `more`, up to the longest header.
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

/// A frame with a complete header and an incomplete payload.
#[derive(Debug, Clone, Copy)]
struct Frame {
    opcode: Opcode,
    fin: bool,
    /// The number of payload bytes that are missing.
    left: usize,
    /// The masking key, beginning with the byte for the next of them.
    key: [u8; 4],
}

/// An incomplete text or binary message.
#[derive(Debug)]
pub(crate) struct Message {
    text: bool,
    compressed: bool,
    fragments: usize,
    /// The unmasked bytes. Compressed ones stay compressed until the last has arrived, because connections share an
    /// inflater: one for each incomplete message would take far more memory than its client has to send.
    bytes: Vec<u8>,
    utf8: Utf8,
}

impl Message {
    /// Checks the next fragment of `message` against the limits.
    pub(crate) fn check(
        message: Option<&Self>,
        header: &ParsedHeader,
        limits: &Limits,
    ) -> Result<(), Violation> {
        let (fragments, had) = message.map_or((0, 0), |message| (message.fragments, message.bytes.len()));
        if fragments >= limits.max_fragments.max(1) {
            return Err(Violation::TooManyFragments);
        }
        let max = max_size(
            message.map_or(header.compressed, |message| message.compressed),
            limits,
        );
        match usize::try_from(header.len) {
            Ok(len) if len <= max.saturating_sub(had) => Ok(()),
            _ => Err(Violation::TooBig),
        }
    }

    fn add(&mut self, bytes: &[u8], frame: Frame, limits: &Limits) -> Result<(), Violation> {
        if self.text && !self.compressed {
            self.utf8.feed(bytes)?;
        }
        let needed = self.bytes.len() + bytes.len();
        if needed > self.bytes.capacity() {
            // Doubling keeps the cost of copies linear. It depends on the received bytes, not on the announced ones, and
            // stops at the end of the message if that is known.
            let end = if frame.fin {
                needed + frame.left
            } else {
                max_size(self.compressed, limits)
            };
            let target = self.bytes.capacity().saturating_mul(2).min(end).max(needed);
            self.bytes.reserve_exact(target - self.bytes.len());
        }
        self.bytes.extend_from_slice(bytes);
        Ok(())
    }
}

/// Returns the maximum size of a message as it is sent, in bytes.
fn max_size(compressed: bool, limits: &Limits) -> usize {
    if compressed {
        deflate::longest_compressed(limits.max_message_size)
    } else {
        limits.max_message_size
    }
}

/// The progress with a frame's payload.
#[derive(Debug)]
pub(crate) enum Progress {
    /// The input ends inside the payload.
    NeedMore,
    /// The frame is complete, its message is not.
    Fragment,
    /// A message or a control frame is complete, in [`Pending::complete`].
    Complete(Opcode),
    /// A message is complete, in the inflater.
    Inflated(Opcode),
}

/// The incomplete parts of a stream. Few connections have one at a time.
#[derive(Debug, Default)]
pub(crate) struct Pending {
    pub(crate) header: HeaderBytes,
    frame: Option<Frame>,
    control: Vec<u8>,
    message: Option<Message>,
    /// The message or control payload that the last call returned.
    complete: Vec<u8>,
}

impl Pending {
    /// Frees the message that the last call returned. Returns `true` if nothing is incomplete.
    pub(crate) fn release(&mut self) -> bool {
        self.complete = Vec::new();
        self.header.bytes().is_empty() && self.frame.is_none() && self.message.is_none()
    }

    pub(crate) fn in_frame(&self) -> bool {
        self.frame.is_some()
    }

    pub(crate) fn message(&self) -> Option<&Message> {
        self.message.as_ref()
    }

    pub(crate) fn complete(&self) -> &[u8] {
        &self.complete
    }

    /// Begins the payload of a frame with this valid header.
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
        // The limits are far below `usize::MAX`.
        let left = usize::try_from(header.len).unwrap_or(usize::MAX);
        self.frame = Some(Frame {
            opcode: header.opcode,
            fin: header.fin,
            left,
            key: header.key,
        });
    }

    /// Reads the available part of the frame's payload.
    pub(crate) fn payload(
        &mut self,
        input: &mut Input<'_>,
        limits: &Limits,
        inflater: &mut Inflater,
    ) -> Result<Progress, Violation> {
        let Some(mut frame) = self.frame.take() else {
            return Ok(Progress::Fragment);
        };
        let range = input.take(frame.left);
        frame.left -= range.len();
        let bytes = input.bytes_mut(range);
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
        self.end_frame(frame, limits, inflater)
    }

    fn end_frame(
        &mut self,
        frame: Frame,
        limits: &Limits,
        inflater: &mut Inflater,
    ) -> Result<Progress, Violation> {
        if frame.opcode.is_control() {
            self.complete = mem::take(&mut self.control);
            return Ok(Progress::Complete(frame.opcode));
        }
        if !frame.fin {
            return Ok(Progress::Fragment);
        }
        let Some(message) = self.message.take() else {
            return Ok(Progress::Fragment);
        };
        let opcode = if message.text {
            Opcode::Text
        } else {
            Opcode::Binary
        };
        if message.compressed {
            inflater.inflate(&message.bytes, message.text, limits.max_message_size)?;
            return Ok(Progress::Inflated(opcode));
        }
        message.utf8.finish()?;
        self.complete = message.bytes;
        Ok(Progress::Complete(opcode))
    }
}

const _: () = assert!(header::MAX_CONTROL < 126, "control payloads have a short length");
