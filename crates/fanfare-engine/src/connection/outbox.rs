//! The frames that a socket has not taken yet, in order, within the limits of the dialect.

use std::{
    collections::VecDeque,
    io::{self, IoSlice},
    sync::atomic::Ordering::Relaxed,
};

use bytes::{Buf, Bytes};
use fanfare_core::Ending;

use super::Connection;
use crate::{clock::Moment, counters::Tally};

/// The most slices in a vectored write; more gain nothing.
const SLICES: usize = 64;

/// The frames that wait for one connection's socket. While there are any, later frames are queued behind them, or frames would
/// interleave.
#[derive(Debug, Default)]
pub(crate) struct Outbox {
    frames: VecDeque<Queued>,
    bytes: usize,
    /// The number of answers among the frames.
    answers: usize,
    /// Whether the front frame was written in part, so that it cannot be dropped any more.
    front_begun: bool,
}

#[derive(Debug)]
struct Queued {
    frame: Bytes,
    kind: FrameKind,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum FrameKind {
    /// A message that answers no request.
    Event,
    /// The answer to a request of the client. It does not count against the limit of messages, because a client that reads well
    /// may send many requests.
    Answer,
    /// A control frame of the protocol.
    Control,
}

impl Connection {
    /// Returns the number of frames that wait for the socket, and of their bytes.
    pub(crate) fn waiting(&self) -> (usize, usize) {
        let outbox = self.outbox.as_ref();
        outbox.map_or((0, 0), |outbox| (outbox.frames.len(), outbox.bytes))
    }

    pub(crate) fn is_outbox_empty(&self) -> bool {
        self.outbox.is_none()
    }

    /// Returns whether an event's frame of `bytes` fits into the outbox.
    pub(crate) fn has_room(&self, bytes: usize) -> bool {
        self.outbox.as_ref().is_none_or(|outbox| {
            let settings = self.mounted().settings();
            outbox.has_room(bytes, settings.send_queue, settings.send_queue_size)
        })
    }

    /// Returns whether an answer's frame of `bytes` fits into the outbox. Only the bytes of answers are limited.
    pub(crate) fn has_room_for_answer(&self, bytes: usize) -> bool {
        self.outbox.as_ref().is_none_or(|outbox| {
            let max_bytes = self.mounted().settings().send_queue_size;
            outbox.has_room(bytes, usize::MAX, max_bytes)
        })
    }

    /// Returns whether more than a quarter of the outbox is used, so that no more messages should be read from the client.
    pub(crate) fn is_congested(&self) -> bool {
        self.outbox.as_ref().is_some_and(|outbox| {
            let settings = self.mounted().settings();
            let (frames, bytes) = ((settings.send_queue / 4).max(1), settings.send_queue_size / 4);
            outbox.frames.len() > frames || outbox.bytes > bytes
        })
    }

    /// Returns whether a part of `frame`, which was queued, still waits for the socket. In memory, the rest of a frame ends at the
    /// same address as the whole frame.
    pub(crate) fn holds(&self, frame: &Bytes) -> bool {
        let end = |frame: &Bytes| frame.as_ptr_range().end;
        let is_it = |queued: &Queued| end(&queued.frame) == end(frame);
        self.outbox.iter().any(|outbox| outbox.frames.iter().any(is_it))
            || self.subscriber.splice().is_some_and(|splice| splice.holds(frame))
    }

    /// Queues an event's frame, or ends the connection if there is no room.
    pub(crate) fn queue(&mut self, frame: Bytes, moment: Moment) -> Tally {
        if !self.is_open() {
            return Tally::DROPPED;
        }
        if !self.has_room(frame.len()) {
            self.end(Ending::SlowConsumer, moment);
            return Tally::DROPPED;
        }
        self.push(frame);
        Tally::QUEUED
    }

    /// Queues a frame without regard to the limits.
    pub(super) fn push(&mut self, frame: Bytes) {
        let kind = if self.framing().is_control(&frame) {
            FrameKind::Control
        } else {
            FrameKind::Event
        };
        self.outbox.get_or_insert_default().put(frame, kind);
    }

    /// Queues the rest of a frame that was written in part.
    pub(crate) fn queue_rest(&mut self, rest: Bytes) -> Tally {
        let outbox = self.outbox.get_or_insert_default();
        outbox.front_begun = true;
        outbox.put(rest, FrameKind::Event);
        Tally::QUEUED
    }

    /// Queues an answer to the client, or ends the connection if there is no room.
    pub(crate) fn queue_answer(&mut self, frame: Bytes, moment: Moment) {
        if self.is_open() && !self.has_room_for_answer(frame.len()) {
            self.end(Ending::SlowConsumer, moment);
        }
        let counters = &self.admission.dialect().counters;
        if !self.is_open() {
            counters.dropped.fetch_add(1, Relaxed);
            return;
        }
        counters.sent.fetch_add(1, Relaxed);
        counters.answers.fetch_add(1, Relaxed);
        self.outbox.get_or_insert_default().put(frame, FrameKind::Answer);
    }

    /// Takes the queued frames, so that other frames precede them; see [`Self::put_back`].
    pub(crate) fn take_queued(&mut self) -> Option<Box<Outbox>> {
        self.outbox.take()
    }

    /// Queues frames that were taken again, if the connection is still open. None of them may have been written in part.
    pub(crate) fn put_back(&mut self, queued: Option<Box<Outbox>>) {
        let Some(mut queued) = queued.filter(|_| self.is_open()) else {
            return;
        };
        let outbox = self.outbox.get_or_insert_default();
        outbox.bytes += queued.bytes;
        outbox.answers += queued.answers;
        outbox.frames.append(&mut queued.frames);
    }

    /// Passes queued frames to `write`, until it takes no more. Returns `true` if none are left.
    ///
    /// # Errors
    /// Any error of `write` except `WouldBlock`.
    pub(crate) fn flush(
        &mut self,
        write: impl FnMut(&[IoSlice<'_>]) -> io::Result<usize>,
    ) -> io::Result<bool> {
        let Some(outbox) = &mut self.outbox else {
            return Ok(true);
        };
        let is_empty = outbox.flush(write)?;
        if is_empty {
            self.outbox = None;
        }
        Ok(is_empty)
    }

    /// Returns the number of messages that are not written in full.
    pub(crate) fn unsent_messages(&self) -> u64 {
        self.outbox.as_ref().map_or(0, |outbox| outbox.messages())
    }
}

impl Outbox {
    fn has_room(&self, bytes: usize, max_frames: usize, max_bytes: usize) -> bool {
        // A frame over the whole limit passes if the outbox is empty, or it could never be sent.
        self.frames.len() - self.answers < max_frames
            && (self.bytes + bytes <= max_bytes || self.frames.is_empty())
    }

    fn put(&mut self, frame: Bytes, kind: FrameKind) {
        if frame.is_empty() {
            return; // a write of no bytes would look like an error
        }
        self.bytes += frame.len();
        self.answers += usize::from(kind == FrameKind::Answer);
        self.frames.push_back(Queued { frame, kind });
    }

    /// Returns the number of messages behind the first `begun` frames.
    fn messages_behind(&self, begun: usize) -> u64 {
        let later = self.frames.iter().skip(begun);
        later.filter(|queued| queued.kind != FrameKind::Control).count() as u64
    }

    /// Drops the frames of which nothing was written, and returns the number of messages among them.
    pub(super) fn abandon(&mut self) -> u64 {
        let keep = usize::from(self.front_begun);
        let dropped = self.messages_behind(keep);
        self.frames.truncate(keep);
        self.bytes = self.frames.iter().map(|queued| queued.frame.len()).sum();
        let kept = self.frames.iter();
        self.answers = kept.filter(|queued| queued.kind == FrameKind::Answer).count();
        dropped
    }

    /// Returns the number of messages that are not written in full.
    fn messages(&self) -> u64 {
        let begun = usize::from(self.front_begun);
        begun as u64 + self.messages_behind(begun)
    }

    /// Passes frames to `write` until it takes no more. Returns `true` if none are left.
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

    fn of(frames: &[&'static str]) -> Outbox {
        let mut outbox = Outbox::default();
        for frame in frames {
            let is_control = frame.starts_with('/');
            let kind = if is_control {
                FrameKind::Control
            } else {
                FrameKind::Event
            };
            outbox.put(Bytes::from_static(frame.as_bytes()), kind);
        }
        outbox
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
    fn answers_do_not_count_against_the_limit_of_messages() {
        let mut outbox = of(&["ab"]);
        outbox.put(Bytes::from_static(b"cd"), FrameKind::Answer);
        assert!(outbox.has_room(1, 2, 100) && !outbox.has_room(1, 1, 100));
        outbox.advance(2);
        assert!(outbox.has_room(1, 1, 100));
        outbox.advance(2);
        assert_eq!((outbox.frames.len(), outbox.answers), (0, 0));
    }

    #[test]
    fn the_outbox_limits_messages_and_bytes() {
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
