//! Frames a socket did not take yet, in order, within limits.

use std::{
    collections::VecDeque,
    io::{self, IoSlice},
};

use bytes::{Buf, Bytes};

use super::Connection;
use crate::MountedDialect;

/// Slices per vectored write; more gain nothing.
const SLICES: usize = 64;

/// The frames of one connection that wait; most of the time none. Once anything is in it, everything goes through it, or frames
/// would interleave.
#[derive(Debug, Default)]
pub(crate) struct Outbox(Option<Box<Queue>>);

#[derive(Debug, Default)]
struct Queue {
    frames: VecDeque<Queued>,
    bytes: usize,
    /// How many of the frames are answers.
    answers: usize,
    /// The front frame was written in part, so it cannot be dropped any more.
    front_begun: bool,
}

/// A frame that waits.
#[derive(Debug)]
struct Queued {
    frame: Bytes,
    kind: FrameKind,
}

/// What a frame that waits is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum FrameKind {
    /// A message that the client has not asked for.
    Event,
    /// A message that answers something the client asked, so that it does not count against the number of messages that
    /// may wait: a request that asks for much is not the mistake of a client that reads well.
    Answer,
    /// Of the protocol, and no message.
    Control,
}

impl Connection {
    /// Whether `frame`, which was queued, waits for the socket, in part at least.
    pub(crate) fn holds(&self, frame: &Bytes) -> bool {
        self.outbox.holds(frame) || self.subscriber.splice().is_some_and(|splice| splice.holds(frame))
    }
}

impl Outbox {
    pub(super) fn is_empty(&self) -> bool {
        self.0.is_none()
    }

    /// How many frames wait, and their bytes.
    pub(super) fn size(&self) -> (usize, usize) {
        self.0
            .as_ref()
            .map_or((0, 0), |queue| (queue.frames.len(), queue.bytes))
    }

    /// Whether one more frame of `bytes` fits.
    pub(super) fn has_room(&self, bytes: usize, mounted: &MountedDialect) -> bool {
        self.0.as_ref().is_none_or(|queue| {
            let settings = mounted.settings();
            queue.has_room(bytes, settings.send_queue, settings.send_queue_size)
        })
    }

    /// Whether one more answer of `bytes` fits. Answers are limited by their bytes alone.
    pub(super) fn has_room_for_answer(&self, bytes: usize, mounted: &MountedDialect) -> bool {
        let fits = |queue: &Queue| queue.has_room(bytes, usize::MAX, mounted.settings().send_queue_size);
        self.0.as_deref().is_none_or(fits)
    }

    /// Whether a quarter of the limits is reached.
    pub(super) fn is_congested(&self, mounted: &MountedDialect) -> bool {
        self.0.as_ref().is_some_and(|queue| {
            let settings = mounted.settings();
            let (frames, bytes) = ((settings.send_queue / 4).max(1), settings.send_queue_size / 4);
            queue.frames.len() > frames || queue.bytes > bytes
        })
    }

    pub(super) fn push(&mut self, frame: Bytes, is_control: bool) {
        let kind = if is_control {
            FrameKind::Control
        } else {
            FrameKind::Event
        };
        self.queue().put(frame, kind);
    }

    pub(super) fn push_answer(&mut self, frame: Bytes) {
        self.queue().put(frame, FrameKind::Answer);
    }

    /// Puts the rest of a frame that was written in part.
    pub(super) fn push_rest(&mut self, rest: Bytes) {
        let queue = self.queue();
        queue.front_begun = true;
        queue.put(rest, FrameKind::Event);
    }

    /// Puts all of `later` behind what is here. Nothing of `later` may have been written in part.
    pub(super) fn append(&mut self, later: Self) {
        let Some(mut later) = later.0 else { return };
        let queue = self.queue();
        queue.bytes += later.bytes;
        queue.answers += later.answers;
        queue.frames.append(&mut later.frames);
    }

    /// Drops what was not begun, and returns how many messages that were.
    pub(super) fn abandon(&mut self) -> u64 {
        self.0.as_mut().map_or(0, |queue| queue.abandon())
    }

    /// How many messages are here that the client does not have in full.
    pub(super) fn messages(&self) -> u64 {
        self.0.as_ref().map_or(0, |queue| queue.messages())
    }

    /// Whether `frame` or its end is here. A frame that was written in part still ends where the whole one does, in memory.
    fn holds(&self, frame: &Bytes) -> bool {
        let end = |frame: &Bytes| frame.as_ptr_range().end;
        self.0.as_ref().is_some_and(|queue| {
            let mut all = queue.frames.iter();
            all.any(|queued| end(&queued.frame) == end(frame))
        })
    }

    /// Has `write` take frames until the queue is empty or it takes no more; `true` if the queue is empty.
    pub(super) fn flush(
        &mut self,
        write: impl FnMut(&[IoSlice<'_>]) -> io::Result<usize>,
    ) -> io::Result<bool> {
        let Some(queue) = &mut self.0 else { return Ok(true) };
        let is_empty = queue.flush(write)?;
        if is_empty {
            self.0 = None;
        }
        Ok(is_empty)
    }

    fn queue(&mut self) -> &mut Queue {
        self.0.get_or_insert_default()
    }
}

impl Queue {
    /// Whether one more frame of `bytes` fits.
    fn has_room(&self, bytes: usize, max_frames: usize, max_bytes: usize) -> bool {
        // A frame larger than the whole limit passes when it is alone, or it could never be sent at all.
        self.frames.len() - self.answers < max_frames
            && (self.bytes + bytes <= max_bytes || self.frames.is_empty())
    }

    fn put(&mut self, frame: Bytes, kind: FrameKind) {
        if frame.is_empty() {
            return; // a socket takes nothing of it
        }
        self.bytes += frame.len();
        self.answers += usize::from(kind == FrameKind::Answer);
        self.frames.push_back(Queued { frame, kind });
    }

    /// How many messages there are behind the first `begun` frames.
    fn messages_behind(&self, begun: usize) -> u64 {
        let later = self.frames.iter().skip(begun);
        later.filter(|queued| queued.kind != FrameKind::Control).count() as u64
    }

    /// Drops what was not begun, and returns how many messages that were.
    fn abandon(&mut self) -> u64 {
        let keep = usize::from(self.front_begun);
        let dropped = self.messages_behind(keep);
        self.frames.truncate(keep);
        self.bytes = self.frames.iter().map(|queued| queued.frame.len()).sum();
        self.answers = self
            .frames
            .iter()
            .filter(|queued| queued.kind == FrameKind::Answer)
            .count();
        dropped
    }

    /// How many messages are here that the client does not have in full.
    fn messages(&self) -> u64 {
        let begun = usize::from(self.front_begun);
        begun as u64 + self.messages_behind(begun)
    }

    /// Has `write` take frames until the queue is empty or it takes no more; `true` if the queue is empty.
    fn flush(&mut self, mut write: impl FnMut(&[IoSlice<'_>]) -> io::Result<usize>) -> io::Result<bool> {
        while !self.frames.is_empty() {
            let mut slices = [IoSlice::new(&[]); SLICES];
            let count = self.frames.len().min(SLICES);
            for (slice, queued) in slices.iter_mut().zip(&self.frames) {
                *slice = IoSlice::new(&queued.frame);
            }
            match write(&slices[..count]) {
                Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                Ok(written) => self.advance(written),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(false),
                Err(error) => return Err(error),
            }
        }
        Ok(true)
    }

    fn advance(&mut self, mut written: usize) {
        self.bytes -= written;
        while let Some(front) = self.frames.front_mut() {
            if written < front.frame.len() {
                self.front_begun |= written > 0;
                front.frame.advance(written);
                return;
            }
            written -= front.frame.len();
            self.front_begun = false;
            self.answers -= usize::from(front.kind == FrameKind::Answer);
            self.frames.pop_front();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(frames: &[&'static str]) -> Queue {
        let mut queue = Queue::default();
        for frame in frames {
            let is_control = frame.starts_with('/');
            let kind = if is_control {
                FrameKind::Control
            } else {
                FrameKind::Event
            };
            queue.put(Bytes::from_static(frame.as_bytes()), kind);
        }
        queue
    }

    #[test]
    fn partial_writes_keep_the_order_and_the_count() {
        let mut outbox = of(&["abc", "de", "f"]);
        for (written, left, bytes, begun) in [(2, 3, 4, true), (1, 2, 3, false), (3, 0, 0, false)] {
            outbox.advance(written);
            assert_eq!(
                (outbox.frames.len(), outbox.bytes, outbox.front_begun),
                (left, bytes, begun)
            );
        }
    }

    #[test]
    fn a_begun_frame_is_never_abandoned() {
        let mut outbox = of(&["abc", "de"]);
        outbox.advance(1);
        assert_eq!((outbox.abandon(), outbox.frames.len(), outbox.bytes), (1, 1, 2));
        let mut outbox = of(&["abc", "de"]);
        assert_eq!((outbox.abandon(), outbox.frames.len()), (2, 0));
    }

    #[test]
    fn messages_are_counted_and_control_frames_are_not() {
        let mut outbox = of(&["abcd", "/", "ef", "/"]);
        assert_eq!(outbox.messages(), 2);
        outbox.advance(1);
        assert_eq!(outbox.messages(), 2, "one is begun");
        assert_eq!((outbox.abandon(), outbox.messages()), (1, 1));
    }

    #[test]
    fn answers_do_not_count_as_messages_that_wait() {
        let mut outbox = of(&["ab"]);
        outbox.put(Bytes::from_static(b"cd"), FrameKind::Answer);
        assert!(outbox.has_room(1, 2, 100) && !outbox.has_room(1, 1, 100));
        outbox.advance(2);
        assert!(outbox.has_room(1, 1, 100));
        outbox.advance(2);
        assert_eq!((outbox.frames.len(), outbox.answers), (0, 0));
    }

    #[test]
    fn limits_have_two_sides() {
        let outbox = of(&["abc", "de"]);
        for (bytes, max_frames, max_bytes, fits) in [
            (1, 3, 6, true),
            (2, 3, 6, false),
            (1, 2, 6, false),
            (0, 3, 5, true),
        ] {
            assert_eq!(outbox.has_room(bytes, max_frames, max_bytes), fits);
        }
        assert!(
            of(&[]).has_room(100, 1, 5),
            "a frame over the byte limit passes when it is alone"
        );
    }
}
