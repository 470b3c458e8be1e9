//! One connection as its shard holds it: its socket, its queue, its state, its times.

use std::{
    io::{self, ErrorKind, IoSlice},
    ops::AddAssign,
    sync::{Arc, atomic::Ordering::Relaxed},
    task::Waker,
    time::SystemTime,
};

use bytes::{Bytes, BytesMut};
use fanfare_core::{Conversation, Ending, Identity};
use fanfare_ws::{Decoder, DeflateParams, encode};
use slab::Slab;
use uuid::Uuid;

use super::{
    Admission, MountedDialect, Transport, batch::plain_frame, deliver::RUN, lapses::Lapses, meter::Meter,
    outbox::Outbox, subscriptions::Subscriptions, work::Debt,
};

/// How long a client may take to answer our close frame.
const CLOSE_ANSWER_MS: u64 = 5_000;
/// How long a client may take to hang up after both close frames are sent.
pub(super) const HANG_UP_MS: u64 = 2_000;
/// How long a client that is ended because it does not read may take to read again: the close frame, which says why it is
/// ended, waits for it behind what the socket has taken already. Nothing else is kept for it.
const SLOW_READER_MS: u64 = 10_000;

/// Names a connection on its shard; never the same for two connections, even in one slot.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Key {
    pub(super) slot: u32,
    pub(super) generation: u32,
}

/// What is known of a connection when it is let in.
pub struct Newcomer {
    /// Its place among its dialect's connections.
    pub admission: Admission,
    /// Who it proved to be.
    pub identity: Option<Arc<Identity>>,
    /// Its id, unlike any other's in the cluster.
    pub id: Uuid,
    /// What program its client says it is, where its dialect keeps that.
    pub user_agent: Option<Box<str>>,
    /// The dialect it may turn out to speak.
    pub successor: Option<Arc<MountedDialect>>,
    /// The compression that was negotiated.
    pub deflate: Option<DeflateParams>,
}

/// Frames queued to a connection, and frames it could not take.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Tally {
    pub(super) queued: u64,
    pub(super) dropped: u64,
}

/// Where a connection is in its life.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Phase {
    /// Messages flow.
    Open,
    /// Our close frame is queued; the client's answer is awaited until then.
    Closing { until: u64 },
    /// Both sides have said all; the client is to hang up until then.
    Finishing { until: u64, finished: bool },
    /// Nothing more can be done but to forget it.
    Gone,
}

/// A connection. All times are in milliseconds of the node's clock.
#[allow(
    clippy::struct_excessive_bools,
    reason = "each is a state of its own, and any may go with any"
)]
pub(super) struct Connection {
    pub(super) generation: u32,
    pub(super) phase: Phase,
    pub(super) transport: Transport,
    /// What the socket did not take yet; most of the time nothing.
    pub(super) outbox: Option<Box<Outbox>>,
    /// What was read and not yet looked at, because the client does not read its answers.
    pub(super) unread: Option<Box<BytesMut>>,
    /// Wakes the connection's task.
    pub(super) waker: Option<Waker>,
    pub(super) decoder: Decoder,
    pub(super) conversation: Box<dyn Conversation>,
    pub(super) admission: Admission,
    pub(super) id: Uuid,
    /// Who it proved to be. Stays when the credential has expired, since nobody else may take its place.
    pub(super) identity: Option<Arc<Identity>>,
    pub(super) subscriptions: Option<Box<Subscriptions>>,
    /// Those of them that end with a credential of their own.
    pub(super) lapses: Option<Box<Lapses>>,
    /// It has its user's events come to this node.
    pub(super) holds_user: bool,
    pub(super) hears_user: bool,
    pub(super) hears_everyone: bool,
    /// The credential has expired: no events until there is another.
    pub(super) paused: bool,
    /// It was taken out of its rooms and of the index.
    pub(super) departed: bool,
    /// If it ended now, its client would be lost: neither has the client closed it, nor has the server decided to.
    pub(super) is_lost: bool,
    /// What the conversation asked for and was not answered yet. Nothing is read meanwhile.
    pub(super) asked: u32,
    pub(super) meter: Option<Box<Meter>>,
    pub(super) debt: Debt,
    pub(super) successor: Option<Arc<MountedDialect>>,
    #[allow(
        clippy::redundant_allocation,
        reason = "few have one, and all would pay for the wide pointer"
    )]
    pub(super) user_agent: Option<Box<Box<str>>>,
    pub(super) deflate: Option<DeflateParams>,
    pub(super) opened_at: u64,
    pub(super) heard_at: u64,
    pub(super) ping_at: u64,
    /// When its token expires, in milliseconds since 1970: the wall clock may be corrected meanwhile. All other times
    /// are the node's clock.
    pub(super) expires_at: u64,
    /// When the conversation wants to be called.
    pub(super) timer_at: u64,
    /// When the client last pinged or answered a ping; 0 for never.
    pub(super) pinged_at: u64,
    /// The node's running number for it, for logs.
    pub(super) number: u64,
    /// The close code the client will see or has sent; 0 when there was none.
    pub(super) close_code: u16,
}

impl Connection {
    /// The connection of that key, if it is still there.
    pub(super) fn at(connections: &mut Slab<Box<Self>>, key: Key) -> Option<&mut Self> {
        connections
            .get_mut(key.slot as usize)
            .map(|held| &mut **held)
            .filter(|held| held.generation == key.generation)
    }

    /// The same, if it takes events.
    pub(super) fn receiver_at(connections: &mut Slab<Box<Self>>, key: Key) -> Option<&mut Self> {
        Self::at(connections, key).filter(|connection| connection.takes_events())
    }

    /// One that is closing is no receiver any more, and one whose credential has expired is none for now.
    pub(super) fn takes_events(&self) -> bool {
        self.phase == Phase::Open && !self.paused
    }

    pub(super) fn key(&self, slot: usize) -> Key {
        Key {
            slot: u32::try_from(slot).unwrap_or(u32::MAX),
            generation: self.generation,
        }
    }

    /// What decides which bytes it is sent for an event: its dialect and its compression.
    pub(super) fn class(&self) -> (&Arc<MountedDialect>, Option<DeflateParams>) {
        (self.admission.dialect(), self.deflate)
    }

    pub(super) fn nothing_queued(&self) -> bool {
        self.outbox.is_none()
    }

    /// Puts all of `later` behind what is queued.
    pub(super) fn append(&mut self, later: Outbox) {
        self.outbox_mut().append(later);
    }

    /// Writes `frames` at once and queues what the socket does not take.
    pub(super) fn send_run(&mut self, frames: &[Bytes], now: u64) -> Tally {
        let mut written = 0;
        if self.phase == Phase::Open && self.outbox.is_none() && !self.transport.wants_flush() {
            let mut slices = smallvec::SmallVec::<[IoSlice<'_>; RUN]>::new();
            slices.extend(frames.iter().map(|frame| IoSlice::new(frame)));
            match self.transport.try_write_vectored(&slices) {
                Ok(bytes) => written = bytes,
                Err(error) if error.kind() == ErrorKind::WouldBlock => {}
                Err(error) => self.broken(&error),
            }
        }
        let mut tally = Tally::default();
        for frame in frames {
            if written >= frame.len() {
                written -= frame.len();
                tally.queued += 1;
            } else if written > 0 {
                self.outbox_mut().push_rest(frame.slice(written..));
                written = 0;
                tally.queued += 1;
            } else {
                tally += self.queue(frame.clone(), now);
            }
        }
        if self.outbox.is_some() || self.transport.wants_flush() {
            self.wake();
        }
        tally
    }

    /// Puts a frame behind what is queued. Whoever calls sees to it that it is written or the task is woken.
    pub(super) fn queue(&mut self, frame: Bytes, now: u64) -> Tally {
        if self.phase != Phase::Open {
            return Tally {
                queued: 0,
                dropped: 1,
            };
        }
        if !self.has_room(frame.len()) {
            self.flush_or_wake(); // a burst may fill the queue of a client that reads well
            if self.phase != Phase::Open {
                return Tally {
                    queued: 0,
                    dropped: 1,
                };
            }
            if !self.has_room(frame.len()) {
                self.end(Ending::SlowConsumer, now);
                return Tally {
                    queued: 0,
                    dropped: 1,
                };
            }
        }
        self.outbox_mut().push(frame);
        Tally {
            queued: 1,
            dropped: 0,
        }
    }

    /// Sends a frame of this connection's own: an answer, a ping, a pong.
    pub(super) fn send(&mut self, frame: &Bytes, now: u64) -> Tally {
        self.send_run(std::slice::from_ref(frame), now)
    }

    /// Writes what is queued as far as the socket takes it, and leaves the rest to the task.
    pub(super) fn flush_or_wake(&mut self) {
        match self.flush() {
            Ok(true) => {}
            Ok(false) => self.wake(),
            Err(error) => self.broken(&error),
        }
    }

    /// Writes what is queued as far as the socket takes it; `true` when nothing is left.
    pub(super) fn flush(&mut self) -> io::Result<bool> {
        if self.transport.wants_flush() {
            match self.transport.try_flush() {
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(false),
                done => done?,
            }
        }
        if let Some(outbox) = &mut self.outbox {
            if !outbox.flush(&mut self.transport)? {
                return Ok(false);
            }
            self.outbox = None;
        }
        Ok(!self.transport.wants_flush())
    }

    /// Ends the connection for a reason of ours, in its dialect's words.
    pub(super) fn end(&mut self, ending: Ending, now: u64) {
        if self.phase != Phase::Open {
            return;
        }
        let mounted = self.admission.dialect();
        mounted.counters.endings.add(ending.label());
        if ending == Ending::InternalError {
            mounted.counters.errors.fetch_add(1, Relaxed);
        }
        let (code, reason) = mounted.dialect.end(ending);
        if let Some(words) = mounted.dialect.last_words(ending, SystemTime::now()) {
            self.outbox_mut().push(plain_frame(&words));
        }
        self.close(code, reason, now);
        self.is_lost = ending.is_loss();
        if ending == Ending::SlowConsumer {
            if let Some(outbox) = &mut self.outbox {
                let untaken = outbox.abandon();
                outbox.push(encode::close_frame(code, reason));
                self.admission
                    .dialect()
                    .counters
                    .abandoned
                    .fetch_add(untaken, Relaxed);
            }
            self.phase = Phase::Closing {
                until: now + SLOW_READER_MS,
            };
        }
    }

    /// Sends a close frame behind what is queued, and waits for the client's.
    pub(super) fn close(&mut self, code: u16, reason: &str, now: u64) {
        if self.phase == Phase::Open {
            self.close_code = code;
            self.is_lost = false;
            self.outbox_mut().push(encode::close_frame(code, reason));
            self.phase = Phase::Closing {
                until: now + CLOSE_ANSWER_MS,
            };
            self.wake();
        }
    }

    /// Sends a close frame behind what is queued and hears no more: the client's stream makes no sense.
    pub(super) fn refuse_stream(&mut self, code: u16, reason: &str, now: u64) {
        self.admission.dialect().counters.errors.fetch_add(1, Relaxed);
        self.close(code, reason, now);
        self.phase = Phase::Finishing {
            until: now + HANG_UP_MS,
            finished: false,
        };
    }

    /// The client sent its close frame: answers it, if it is not itself an answer.
    pub(super) fn closed_by_client(&mut self, code: Option<u16>, now: u64) {
        if self.phase == Phase::Open {
            self.close_code = code.unwrap_or(1005);
            self.outbox_mut().push(match code {
                Some(code) => encode::close_frame(code, ""),
                None => encode::empty_close_frame(),
            });
        }
        self.is_lost = false;
        self.phase = Phase::Finishing {
            until: now + HANG_UP_MS,
            finished: false,
        };
    }

    /// The socket failed or its peer is gone.
    pub(super) fn broken(&mut self, error: &io::Error) {
        if self.phase != Phase::Gone {
            tracing::debug!(connection = self.number, error = %error.kind(), "socket failed");
            self.admission.dialect().counters.errors.fetch_add(1, Relaxed);
            self.gone();
        }
    }

    /// Nothing more is to be done.
    pub(super) fn gone(&mut self) {
        self.phase = Phase::Gone;
        self.wake();
    }

    pub(super) fn wake(&self) {
        if let Some(waker) = &self.waker {
            waker.wake_by_ref();
        }
    }

    /// Whether so much waits for the client that nothing more should be taken from it.
    pub(super) fn is_congested(&self) -> bool {
        self.outbox.as_ref().is_some_and(|outbox| {
            let settings = self.admission.dialect().settings();
            let (frames, bytes) = ((settings.send_queue / 4).max(1), settings.send_queue_size / 4);
            outbox.len() > frames || outbox.bytes() > bytes
        })
    }

    /// Puts an answer to the client behind what is queued. Answers are limited by their bytes alone.
    pub(super) fn queue_answer(&mut self, frame: Bytes, now: u64) -> Tally {
        if self.phase == Phase::Open && !self.has_room_for_answer(frame.len()) {
            self.flush_or_wake();
            if !self.has_room_for_answer(frame.len()) {
                self.end(Ending::SlowConsumer, now);
            }
        }
        if self.phase != Phase::Open {
            return Tally {
                queued: 0,
                dropped: 1,
            };
        }
        self.outbox_mut().push_answer(frame);
        Tally {
            queued: 1,
            dropped: 0,
        }
    }

    fn has_room_for_answer(&self, bytes: usize) -> bool {
        self.outbox.as_ref().is_none_or(|outbox| {
            let settings = self.admission.dialect().settings();
            outbox.has_room(bytes, usize::MAX, settings.send_queue_size)
        })
    }

    fn has_room(&self, bytes: usize) -> bool {
        self.outbox.as_ref().is_none_or(|outbox| {
            let settings = self.admission.dialect().settings();
            outbox.has_room(bytes, settings.send_queue, settings.send_queue_size)
        })
    }

    fn outbox_mut(&mut self) -> &mut Outbox {
        self.outbox.get_or_insert_default()
    }
}

impl AddAssign for Tally {
    fn add_assign(&mut self, other: Self) {
        self.queued += other.queued;
        self.dropped += other.dropped;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A node may hold a hundred thousand idle connections, so each byte here is a tenth of a megabyte.
    #[test]
    fn an_idle_connection_is_small() {
        let size = size_of::<Connection>();
        assert!((304..=320).contains(&size), "{size} bytes");
    }
}
