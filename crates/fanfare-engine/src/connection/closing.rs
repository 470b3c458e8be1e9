//! The end of a connection.

use std::{io, sync::atomic::Ordering::Relaxed};

use fanfare_core::Ending;

use super::{Connection, Phase};
use crate::clock::Moment;

/// How long a client may take to answer the close frame.
const CLOSE_ANSWER_MS: u64 = 5_000;
/// How long a client may take to hang up after both close frames are sent.
const HANG_UP_MS: u64 = 2_000;
/// How long a client that is ended because it does not read may take to read again: the close frame with the reason waits behind
/// the bytes that the socket has already taken. Nothing else is kept for it.
const SLOW_READER_MS: u64 = 10_000;
/// How long a client may take to read the rest of a response, as long as it is never [silent](SLOW_READER_MS).
const REST_MS: u64 = 60_000;

impl Connection {
    /// Ends the connection for a reason of the server's, with its dialect's close code and last message.
    pub(crate) fn end(&mut self, ending: Ending, moment: Moment) {
        if !self.is_open() {
            return;
        }
        let mounted = self.admission.dialect().clone();
        mounted.count_ending(ending);
        let (code, reason) = mounted.dialect.end(ending);
        let is_slow = ending == Ending::SlowConsumer;
        if is_slow {
            let untaken = self.outbox.as_mut().map_or(0, |outbox| outbox.abandon());
            mounted.counters.abandoned.fetch_add(untaken, Relaxed);
        }
        // A slow WebSocket client gets the reason only by the close frame.
        if !is_slow || self.framing().is_body() {
            let words = mounted.dialect.last_words(ending, moment.wall);
            if let Some(words) = words {
                self.push(self.framing().frame(&words));
            }
        }
        self.close(code, reason, moment.ms);
        self.is_lost = ending.is_loss();
        if is_slow {
            self.phase = Phase::Closing {
                until: moment.ms + SLOW_READER_MS,
            };
        }
    }

    /// Queues a close frame, and waits for the client's.
    pub(crate) fn close(&mut self, code: u16, reason: &str, now: u64) {
        if self.is_open() {
            self.close_code = code;
            self.is_lost = false;
            if let Some(frame) = self.framing().close(code, reason) {
                self.push(frame);
            }
            let rest = if self.framing().is_body() {
                self.liveness.read(now); // its silence counts from now on
                REST_MS
            } else {
                CLOSE_ANSWER_MS
            };
            self.phase = Phase::Closing { until: now + rest };
            self.keep_refusal(code, reason);
        }
    }

    /// Waits for the client to hang up. `parted` is whether it has sent its close frame, and nothing behind it.
    pub(super) fn finish(&mut self, parted: bool, now: u64) {
        self.phase = Phase::Finishing {
            until: now + HANG_UP_MS,
            finished: false,
            parted,
        };
    }

    /// Whether the client has sent its close frame, and nothing behind it. Then the socket may be closed at once: no unread byte
    /// makes the system reset the connection.
    pub(crate) fn has_parted(&self) -> bool {
        matches!(self.phase, Phase::Finishing { parted: true, .. })
    }

    /// Whether the client of a response has stopped reading its rest, or does not hang up after it.
    pub(super) fn has_left_rest(&self, now: u64) -> bool {
        self.framing().is_body() && self.liveness.silence(now) >= SLOW_READER_MS
    }

    /// Returns whether the stream is to be shut down, because the last frame is written; `true` only once.
    pub(crate) fn take_end_of_stream(&mut self) -> bool {
        let is_body = self.framing().is_body();
        match &mut self.phase {
            // The client of a response answers no close.
            Phase::Closing { until } if is_body && self.outbox.is_none() => {
                self.phase = Phase::Finishing {
                    until: *until,
                    finished: true,
                    parted: false,
                };
                true
            }
            Phase::Finishing { finished, .. } if self.outbox.is_none() => !std::mem::replace(finished, true),
            _ => false,
        }
    }

    pub(crate) fn broken(&mut self, error: &io::Error) {
        if !self.is_gone() {
            tracing::debug!(connection = self.number, error = %error.kind(), "socket failed");
            self.mounted().counters.errors.fetch_add(1, Relaxed);
            self.phase = Phase::Gone;
        }
    }

    pub(crate) fn hung_up(&mut self) {
        self.phase = Phase::Gone;
    }
}
