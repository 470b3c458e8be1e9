//! The end of a connection.

use std::{io, sync::atomic::Ordering::Relaxed};

use fanfare_core::Ending;

use super::{Connection, Phase};
use crate::clock::Moment;

/// The time in which a client must answer the close frame.
const CLOSE_ANSWER_MS: u64 = 5_000;
/// The time in which a client must hang up after both close frames are sent.
const HANG_UP_MS: u64 = 2_000;
/// The time in which a slow consumer must read again to get the close frame. That frame waits behind the bytes that the socket
/// has already taken; all other frames are dropped.
const SLOW_READER_MS: u64 = 10_000;
/// The time in which a client must read the rest of a response, if it is never [silent](SLOW_READER_MS).
const REST_MS: u64 = 60_000;

impl Connection {
    /// Ends the connection for `ending`, with its dialect's close code and last message.
    pub(crate) fn end(&mut self, ending: Ending, moment: Moment) {
        if !self.is_open() {
            return;
        }
        let mounted = self.admission.dialect().clone();
        mounted.count_ending(ending);
        let (code, reason) = mounted.dialect.end(ending);
        let is_slow = ending == Ending::SlowConsumer;
        if is_slow {
            let unsent = self.outbox.as_mut().map_or(0, |outbox| outbox.abandon());
            mounted.counters.abandoned.fetch_add(unsent, Relaxed);
        }
        // A slow WebSocket client gets the reason by the close frame.
        if !is_slow || self.framing().is_body() {
            let message = mounted.dialect.closing_message(ending, moment.wall);
            if let Some(message) = message {
                self.push(self.framing().frame(&message));
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

    /// Queues a close frame, and waits for the client's close frame.
    pub(crate) fn close(&mut self, code: u16, reason: &str, now: u64) {
        if self.is_open() {
            self.close_code = code;
            self.is_lost = false;
            if let Some(frame) = self.framing().close(code, reason) {
                self.push(frame);
            }
            let rest = if self.framing().is_body() {
                self.liveness.read(now); // its silence begins now
                REST_MS
            } else {
                CLOSE_ANSWER_MS
            };
            self.phase = Phase::Closing { until: now + rest };
            self.keep_refusal(code, reason);
        }
    }

    /// Waits for the client to hang up. `client_closed` is whether the client's last bytes were its close frame.
    pub(super) fn finish(&mut self, client_closed: bool, now: u64) {
        self.phase = Phase::Finishing {
            until: now + HANG_UP_MS,
            is_shut_down: false,
            client_closed,
        };
    }

    /// Returns whether the client's last bytes were its close frame. Then the socket may be closed at once: without unread bytes,
    /// the system does not reset the connection.
    pub(crate) fn has_client_closed(&self) -> bool {
        matches!(
            self.phase,
            Phase::Finishing {
                client_closed: true,
                ..
            }
        )
    }

    /// Returns whether the client of a response has stopped reading it, or does not hang up after its end.
    pub(super) fn has_stopped_reading(&self, now: u64) -> bool {
        self.framing().is_body() && self.liveness.silence(now) >= SLOW_READER_MS
    }

    /// Returns `true` once, when the last frame is written and the stream must be shut down.
    pub(crate) fn take_end_of_stream(&mut self) -> bool {
        let is_body = self.framing().is_body();
        match &mut self.phase {
            // The client of a response sends no close frame.
            Phase::Closing { until } if is_body && self.outbox.is_none() => {
                self.phase = Phase::Finishing {
                    until: *until,
                    is_shut_down: true,
                    client_closed: false,
                };
                true
            }
            Phase::Finishing { is_shut_down, .. } if self.outbox.is_none() => {
                !std::mem::replace(is_shut_down, true)
            }
            _ => false,
        }
    }

    pub(crate) fn socket_failed(&mut self, error: &io::Error) {
        if !self.is_gone() {
            tracing::debug!(connection = self.number, error = %error.kind(), "socket failed");
            self.mounted().counters.errors.fetch_add(1, Relaxed);
            self.phase = Phase::Gone;
        }
    }

    pub(crate) fn mark_gone(&mut self) {
        self.phase = Phase::Gone;
    }
}
