//! Tests of the state machine: two ends of a connection, the stream between them and the clock are values, without a socket or a
//! shard.

#![allow(clippy::unwrap_used)]

use std::{
    io::ErrorKind,
    sync::Arc,
    time::{Duration, UNIX_EPOCH},
};

use fanfare_core::{Identity, UserId};
use fanfare_ws::Input;

use super::*;
use crate::{
    DialectSettings, Mounting,
    tests::{
        plain::{PLAIN, Plain},
        settings,
    },
};

const KEY: [u8; 4] = [1, 2, 3, 4];
/// The time between two visits of a shard.
const SWEEP_MS: u64 = 250;

struct Pair {
    server: Connection,
    codec: Codec,
    moment: Moment,
    /// The bytes that the client has sent and the server has not read.
    sent: Vec<u8>,
    /// The most bytes that the server reads at once.
    chunk: usize,
    /// The number of bytes that the stream takes until the client reads again.
    room: usize,
    received: Vec<u8>,
    asked: Vec<Command>,
}

/// A frame's opcode and payload.
type Frame = (u8, String);

impl Pair {
    fn new(settings: DialectSettings) -> Self {
        let mounting = Mounting {
            kind: &PLAIN,
            dialect: Arc::new(Plain::default()),
            settings,
        };
        let mounted = MountedDialect::new(0, mounting);
        let moment = Moment {
            ms: 1_000,
            wall: UNIX_EPOCH + Duration::from_secs(1_000_000),
        };
        let alice = Identity::new(
            UserId::new("alice").unwrap(),
            moment.wall + Duration::from_secs(3600),
        );
        let new = NewConnection {
            admission: Admission::take(&mounted, [127, 0, 0, 1].into(), None).unwrap(),
            identity: Some(Arc::new(alice)),
            id: Uuid::nil(),
            user_agent: None,
            guest: None,
            framing: Framing::WebSocket(None),
            opening: None,
        };
        let mut pair = Self {
            server: Connection::new(new, 1, moment),
            codec: Codec::default(),
            moment,
            sent: Vec::new(),
            chunk: usize::MAX,
            room: usize::MAX,
            received: Vec::new(),
            asked: Vec::new(),
        };
        let steps = pair.server.opened(moment);
        pair.perform(steps);
        pair
    }

    fn perform(&mut self, steps: Steps) {
        for step in steps {
            match self.server.perform(step, &mut self.codec, self.moment) {
                None => {}
                Some(DriverAction::Send(frame)) => self.server.queue_answer(frame, self.moment),
                Some(DriverAction::Run(command)) => {
                    self.server.begin_command();
                    self.asked.push(command);
                }
            }
        }
    }

    /// Sends bytes from the client.
    fn send(&mut self, bytes: &[u8]) {
        self.sent.extend(bytes);
        self.drive();
    }

    fn send_text(&mut self, text: &str) {
        self.send(&encode::masked_frame(Opcode::Text, text.as_bytes(), KEY));
    }

    /// Runs until neither end has anything to do.
    fn drive(&mut self) {
        while !self.sent.is_empty() && !self.server.is_waiting() && self.server.is_readable() {
            let count = self.chunk.min(self.sent.len());
            let mut bytes: Vec<u8> = self.sent.drain(..count).collect();
            let mut input = Input::new(&mut bytes);
            let (mut done, moment) = (TurnTotals::default(), self.moment);
            self.server.liveness.read(moment.ms);
            while self.server.is_readable() && !self.server.is_waiting() {
                match receive(&mut self.server, &mut input, &mut self.codec, moment, &mut done) {
                    Received::Nothing => break,
                    Received::Steps(steps) => self.perform(steps),
                    Received::Ping(pong) => _ = self.server.queue(pong, moment),
                    Received::OtherDialect(_) => unreachable!("there is one dialect"),
                }
            }
            let rest = input.rest().to_vec();
            self.sent.splice(..0, rest);
            self.flush();
        }
        self.flush();
    }

    fn flush(&mut self) {
        let (room, received) = (&mut self.room, &mut self.received);
        let flushed = self.server.flush(|slices| {
            let bytes: Vec<u8> = slices.iter().flat_map(|slice| slice.iter().copied()).collect();
            let count = bytes.len().min(*room);
            *room -= count;
            received.extend(&bytes[..count]);
            if count == 0 {
                Err(ErrorKind::WouldBlock.into())
            } else {
                Ok(count)
            }
        });
        flushed.unwrap();
    }

    /// Answers the open command.
    fn answer(&mut self, answer: Result<Outcome, Denial>) {
        self.server.end_command(self.moment);
        let steps = self.server.answered(answer, self.moment);
        self.perform(steps);
        self.drive();
    }

    /// Advances the time.
    fn advance(&mut self, ms: u64) {
        for _ in 0..ms / SWEEP_MS {
            self.moment.ms += SWEEP_MS;
            self.moment.wall += Duration::from_millis(SWEEP_MS);
            let timer = self.server.timer(self.moment);
            self.perform(timer.unwrap_or_default());
            let timeout = self.server.timeout(self.moment);
            self.perform(timeout.unwrap_or_default());
            self.flush();
        }
    }

    /// Takes the whole frames that the client has received.
    fn frames(&mut self) -> Vec<Frame> {
        let mut frames = Vec::new();
        while let [head, length, rest @ ..] = &self.received[..] {
            let (length, extra) = match *length {
                126 => (usize::from(rest[0]) << 8 | usize::from(rest[1]), 2),
                length => (usize::from(length), 0),
            };
            let Some(payload) = rest.get(extra..extra + length) else {
                break;
            };
            frames.push((head & 0x0f, String::from_utf8_lossy(payload).into_owned()));
            self.received.drain(..2 + extra + length);
        }
        frames
    }

    fn texts(&mut self) -> Vec<String> {
        self.frames().into_iter().map(|(_, payload)| payload).collect()
    }
}

fn close_of(code: u16, reason: &str) -> Frame {
    let code = String::from_utf8_lossy(&code.to_be_bytes()).into_owned();
    (8, code + reason)
}

/// Returns one frame of each kind that a client may send.
fn stream() -> Vec<u8> {
    let masked = |opcode, payload: &[u8]| encode::masked_frame(opcode, payload, KEY);
    let part = |opcode, is_last, payload: &str| {
        encode::masked_fragment(opcode, is_last, false, payload.as_bytes(), KEY)
    };
    let long = "x".repeat(200);
    [
        masked(Opcode::Text, b"one"),
        masked(Opcode::Ping, b"ping"),
        part(Opcode::Text, false, "two "),
        masked(Opcode::Ping, b"between"),
        part(Opcode::Continuation, true, "parts"),
        masked(Opcode::Text, long.as_bytes()),
        masked(Opcode::Close, &[3, 232]),
    ]
    .concat()
}

fn answers() -> Vec<Frame> {
    let text = |text: &str| (1, text.to_owned());
    vec![
        text("one"),
        (10, "ping".into()),
        (10, "between".into()),
        text("two parts"),
        text(&"x".repeat(200)),
        close_of(1000, ""),
    ]
}

#[test]
fn a_stream_has_the_same_result_in_chunks_of_any_size() {
    for chunk in 1..=stream().len() {
        let mut pair = Pair::new(settings());
        pair.chunk = chunk;
        pair.send(&stream());
        assert_eq!(pair.frames(), answers(), "{chunk} bytes at once");
        assert!(pair.server.take_end_of_stream() && !pair.server.take_end_of_stream());
        assert!(!pair.server.is_lost, "its client has closed it");
    }
}

#[test]
fn a_socket_is_closed_at_once_after_the_close_frames_of_both_sides() {
    let close = encode::masked_frame(Opcode::Close, &[3, 232], KEY);
    for (behind, client_closed) in [("", true), ("something", false)] {
        let mut pair = Pair::new(settings());
        pair.send(&[&close[..], behind.as_bytes()].concat());
        assert_eq!(pair.server.has_client_closed(), client_closed, "{behind}");
    }
}

#[test]
fn a_partial_write_continues_at_its_end() {
    for room in 1..=answers().len() * 40 {
        let mut pair = Pair::new(settings());
        pair.room = 0;
        pair.send(&stream());
        let mut event = Tally::default();
        while !pair.server.is_outbox_empty() {
            // An event in between is too late for a connection that closes.
            event += pair.server.queue(Bytes::from_static(b"\x81\x01e"), pair.moment);
            pair.room = room;
            pair.flush();
        }
        assert_eq!(pair.frames(), answers(), "{room} bytes at once");
        assert_eq!(event.queued, 0);
    }
}

#[test]
fn a_client_that_does_not_read_is_ended_and_can_still_read_the_reason() {
    for reads_again in [true, false] {
        let mut pair = Pair::new(DialectSettings {
            send_queue: 3,
            ..settings()
        });
        let event = encode::frame(Opcode::Text, b"event", false);
        pair.room = 2;
        let mut tally = Tally::default();
        for _ in 0..5 {
            tally += pair.server.queue(event.clone(), pair.moment);
            pair.flush();
        }
        assert_eq!((tally.queued, tally.dropped), (3, 2));
        pair.advance(9_750);
        if reads_again {
            pair.room = usize::MAX;
            pair.flush();
            // The rest of the partly written frame, and the close frame with the reason.
            let expected = [(1, "event".into()), close_of(1008, "slow_consumer")];
            assert_eq!(pair.frames(), expected);
            pair.send(&encode::masked_frame(Opcode::Close, &[3, 240], KEY));
            assert!(pair.server.take_end_of_stream());
            pair.advance(1_750);
            assert!(!pair.server.is_gone());
        }
        pair.advance(250);
        assert!(pair.server.is_gone());
        assert_eq!(
            pair.server.is_lost, !reads_again,
            "one that answers the close is not lost"
        );
    }
}

#[test]
fn a_silent_client_is_pinged_then_ended_and_its_unanswered_close_times_out() {
    let mut pair = Pair::new(settings());
    pair.advance(29_750);
    assert_eq!(pair.frames(), []);
    pair.advance(250);
    assert_eq!(pair.frames(), [(9, String::new())]);
    pair.send(&encode::masked_frame(Opcode::Pong, b"", KEY));
    pair.advance(59_750);
    assert_eq!(pair.frames().len(), 1, "one ping, and it is still open");
    pair.advance(250);
    assert_eq!(pair.frames(), [close_of(1008, "ping_timeout")]);
    pair.advance(4_750);
    assert!(
        !pair.server.take_end_of_stream(),
        "the client may answer for five seconds"
    );
    pair.advance(250);
    assert!(pair.server.take_end_of_stream());
    pair.advance(1_750);
    assert!(!pair.server.is_gone());
    pair.advance(250);
    assert!(pair.server.is_gone());
}

fn body() -> Pair {
    let mut pair = Pair::new(settings());
    pair.server.set_framing(Framing::Body {
        form: 0,
        chunked: true,
    });
    pair
}

#[test]
fn the_reader_of_a_body_stays_connected_while_it_reads() {
    let mut pair = body();
    pair.send(b"whatever follows its request");
    pair.advance(600_000);
    assert!(pair.server.is_open());
    assert_eq!(
        pair.received, b"",
        "no ping, since the dialect has no words for one"
    );
    pair.room = 4;
    let chunk = Bytes::from_static(b"3\r\nabc\r\n");
    assert_eq!(pair.server.queue(chunk, pair.moment), Tally::QUEUED);
    pair.advance(59_750);
    assert!(pair.server.is_open());
    pair.advance(250);
    assert!(!pair.server.is_open(), "it takes nothing any more");
}

#[test]
fn a_body_ends_with_its_last_chunk_and_awaits_no_answer() {
    for is_slow in [false, true] {
        let mut pair = body();
        pair.room = 4;
        for _ in 0..2 {
            let chunk = Bytes::from_static(b"3\r\nabc\r\n");
            assert_eq!(pair.server.queue(chunk, pair.moment), Tally::QUEUED);
            pair.flush();
        }
        let ending = if is_slow {
            Ending::SlowConsumer
        } else {
            Ending::ShuttingDown
        };
        pair.server.end(ending, pair.moment);
        assert!(!pair.server.take_end_of_stream(), "the client has not read");
        pair.room = usize::MAX;
        pair.flush();
        // The partly written chunk is completed in any case.
        let chunks = if is_slow { 1 } else { 2 };
        assert_eq!(
            pair.received,
            ["3\r\nabc\r\n".repeat(chunks).as_str(), "0\r\n\r\n"]
                .concat()
                .as_bytes()
        );
        assert!(pair.server.take_end_of_stream() && !pair.server.take_end_of_stream());
        assert_eq!(pair.server.unsent_messages(), 0);
    }
}

#[test]
fn nothing_is_read_while_a_command_is_open_and_that_is_no_silence() {
    let mut pair = Pair::new(settings());
    pair.send_text("sub a.b");
    pair.send_text("later");
    assert_eq!(pair.asked.len(), 1);
    pair.advance(120_000);
    let texts = pair.texts();
    assert!(texts.iter().all(String::is_empty), "pings alone: {texts:?}");
    pair.answer(Ok(Outcome::Subscribed(vec![Ok(())])));
    assert_eq!(pair.texts(), ["sub: ok", "later"]);
    pair.send_text("sub a.c");
    pair.advance(120_000);
    pair.answer(Ok(Outcome::Subscribed(vec![Ok(())])));
    pair.advance(59_750);
    assert!(pair.server.is_open(), "the wait was no silence");
}

#[test]
fn a_credential_ends_the_connection_by_the_time_of_day() {
    let mut pair = Pair::new(settings());
    pair.moment.wall += Duration::from_secs(3599);
    pair.advance(750);
    assert!(pair.server.is_open());
    pair.advance(250);
    assert_eq!(pair.frames(), [close_of(1008, "token_expired")]);
}

#[test]
fn a_timer_expires_once_and_is_replaced_by_the_next() {
    let mut pair = Pair::new(settings());
    pair.send_text("timer 600");
    pair.send_text("timer 1100");
    pair.advance(1_000);
    assert_eq!(pair.texts(), [] as [&str; 0]);
    pair.advance(5_000);
    assert_eq!(pair.texts(), ["timer"]);
}

#[test]
fn an_invalid_stream_is_refused_and_not_read_further() {
    let mut pair = Pair::new(settings());
    let unmasked = encode::frame(Opcode::Text, b"unmasked", false);
    pair.send(&[&unmasked[..], &encode::masked_frame(Opcode::Text, b"one", KEY)].concat());
    let frames = pair.frames();
    assert_eq!(frames.len(), 1);
    assert!(frames[0].1.starts_with("\u{3}\u{fffd}"), "{frames:?}: 1002");
    assert!(!pair.server.is_readable() && pair.server.take_end_of_stream());
}

#[test]
fn a_client_over_its_rate_is_ended_after_ten_seconds() {
    let mut pair = Pair::new(DialectSettings {
        max_messages_per_second: 1,
        message_burst: 2,
        ..settings()
    });
    for _ in 0..40 {
        pair.send_text("a");
        pair.advance(250);
    }
    let texts = pair.texts();
    let answered = texts.iter().filter(|text| *text == "a").count();
    // Two at once, and then one for each second.
    assert_eq!(answered, 11, "{texts:?}");
    assert!(pair.server.is_open());
    for _ in 0..4 {
        pair.send_text("a");
        pair.advance(250);
    }
    assert_eq!(pair.frames().last(), Some(&close_of(1008, "rate_limited")));
}
