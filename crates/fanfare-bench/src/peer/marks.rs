//! The mark in each message: its publisher, its sequence number and its publication time.

use std::{
    cell::{Cell, RefCell},
    rc::Rc,
    time::{Duration, Instant},
};

use hdrhistogram::Histogram;
use memchr::memchr;

use crate::frames::Counter;

/// The first and the last byte of a mark. No JSON escapes it.
const EDGE: u8 = b'^';
/// The length of a mark: between its edges it has three, eight and twelve hexadecimal digits.
const LEN: usize = 25;
/// The number of publishers that marks can distinguish.
pub(super) const MOST_PUBLISHERS: usize = 1 << 12;
/// Latencies are kept to three digits.
const DIGITS: u8 = 3;
/// The longest latency that is kept: an hour.
const LONGEST_NANOS: u64 = 3_600_000_000_000;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Mark {
    pub(super) publisher: usize,
    /// The number of the message among those of its publisher for its receiver, starting at 0.
    pub(super) sequence: u64,
    pub(super) at: Duration,
}

impl Mark {
    pub(super) fn to_text(self) -> String {
        let Self {
            publisher,
            sequence,
            at,
        } = self;
        format!("^{publisher:03x}{sequence:08x}{:012x}^", at.as_nanos())
    }

    /// Parses the first [`LEN`] bytes of `bytes`.
    fn parse(bytes: &[u8]) -> Option<Self> {
        let text = std::str::from_utf8(bytes.get(..LEN)?).ok()?;
        let digits = text.strip_prefix('^')?.strip_suffix('^')?;
        let number = |from, to| u64::from_str_radix(digits.get(from..to)?, 16).ok();
        Some(Self {
            publisher: usize::try_from(number(0, 3)?).ok()?,
            sequence: number(3, 11)?,
            at: Duration::from_nanos(number(11, 23)?),
        })
    }
}

pub(super) struct Sums {
    started: Instant,
    pub(super) latencies: RefCell<Histogram<u64>>,
    pub(super) duplicated: Cell<u64>,
    pub(super) reordered: Cell<u64>,
}

impl Sums {
    pub(super) fn new() -> Result<Rc<Self>, String> {
        let latencies = Histogram::new_with_max(LONGEST_NANOS, DIGITS).map_err(|error| error.to_string())?;
        Ok(Rc::new(Self {
            started: Instant::now(),
            latencies: RefCell::new(latencies),
            duplicated: Cell::new(0),
            reordered: Cell::new(0),
        }))
    }

    pub(super) fn now(&self) -> Duration {
        self.started.elapsed()
    }
}

/// Counts the messages that one connection receives, without duplicates.
pub(super) struct MarkReader {
    sums: Rc<Sums>,
    seen: Vec<SequenceWindow>,
    /// The incomplete mark at the end of the last piece of the stream.
    cut: Vec<u8>,
}

impl MarkReader {
    pub(super) fn new(sums: Rc<Sums>, publishers: usize) -> Self {
        Self {
            sums,
            seen: vec![SequenceWindow::default(); publishers],
            cut: Vec::new(),
        }
    }

    /// Counts the marks in `bytes`. Returns their number and the position of a mark that is cut, or the end.
    fn scan(&mut self, bytes: &[u8], now: Duration) -> (u64, usize) {
        let (mut at, mut count) = (0, 0);
        while let Some(found) = memchr(EDGE, &bytes[at..]) {
            at += found;
            if bytes.len() - at < LEN {
                return (count, at);
            }
            match Mark::parse(&bytes[at..]) {
                Some(mark) => {
                    at += LEN;
                    count += u64::from(self.note(mark, now));
                }
                None => at += 1,
            }
        }
        (count, bytes.len())
    }

    fn note(&mut self, mark: Mark, now: Duration) -> bool {
        let Some(seen) = self.seen.get_mut(mark.publisher) else {
            return false;
        };
        let order = seen.note(mark.sequence);
        match order {
            Order::Next => {}
            Order::Late => self.sums.reordered.set(self.sums.reordered.get() + 1),
            Order::Duplicate => self.sums.duplicated.set(self.sums.duplicated.get() + 1),
        }
        let latency = u64::try_from(now.saturating_sub(mark.at).as_nanos()).unwrap_or(u64::MAX);
        self.sums.latencies.borrow_mut().saturating_record(latency);
        order != Order::Duplicate
    }
}

impl Counter for MarkReader {
    fn take(&mut self, bytes: &[u8]) -> u64 {
        let now = self.sums.now();
        if self.cut.is_empty() {
            let (count, rest) = self.scan(bytes, now);
            self.cut.extend(&bytes[rest..]);
            return count;
        }
        let mut whole = std::mem::take(&mut self.cut);
        whole.extend(bytes);
        let (count, rest) = self.scan(&whole, now);
        self.cut.extend(&whole[rest..]);
        count
    }
}

/// The sequence numbers of one publisher that a receiver has seen.
#[derive(Debug, Clone, Copy, Default)]
struct SequenceWindow {
    /// The number after the highest that was seen.
    next: u64,
    /// A bit for each of the last 64 numbers that was seen; the lowest bit is the number before `next`.
    recent: u64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Order {
    /// Higher than all before it. Skipped numbers may arrive late.
    Next,
    /// Lower than an earlier one.
    Late,
    Duplicate,
}

impl SequenceWindow {
    fn note(&mut self, sequence: u64) -> Order {
        if let Some(ahead) = (sequence + 1).checked_sub(self.next).filter(|ahead| *ahead > 0) {
            let shifted = u32::try_from(ahead)
                .ok()
                .and_then(|by| self.recent.checked_shl(by));
            self.recent = shifted.unwrap_or(0) | 1;
            self.next = sequence + 1;
            return Order::Next;
        }
        let age = u32::try_from(self.next - 1 - sequence).ok();
        match age.and_then(|age| 1_u64.checked_shl(age)) {
            Some(bit) if self.recent & bit != 0 => Order::Duplicate,
            bit => {
                self.recent |= bit.unwrap_or(0);
                Order::Late
            }
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn mark(publisher: usize, sequence: u64) -> String {
        Mark {
            publisher,
            sequence,
            at: Duration::from_nanos(5),
        }
        .to_text()
    }

    #[test]
    fn marks_are_counted_wherever_the_stream_is_cut() {
        let stream = format!("^^ 7^{}xx^0{}\u{1}^{}", mark(0, 0), mark(1, 0), mark(0, 1));
        for piece in 1..=stream.len() {
            let sums = Sums::new().unwrap();
            let mut reader = MarkReader::new(sums.clone(), 2);
            let count: u64 = stream
                .as_bytes()
                .chunks(piece)
                .map(|bytes| reader.take(bytes))
                .sum();
            assert_eq!(
                (count, sums.latencies.borrow().len()),
                (3, 3),
                "in pieces of {piece}"
            );
            assert_eq!((sums.duplicated.get(), sums.reordered.get()), (0, 0));
        }
    }

    #[test]
    fn a_late_message_is_counted_and_a_duplicate_is_not() {
        let sums = Sums::new().unwrap();
        let mut reader = MarkReader::new(sums.clone(), 1);
        let stream: String = [0, 1, 3, 2, 2, 3, 4, 0]
            .map(|sequence| mark(0, sequence))
            .concat();
        assert_eq!(reader.take(stream.as_bytes()), 5);
        assert_eq!((sums.duplicated.get(), sums.reordered.get()), (3, 1));
    }

    #[test]
    fn a_latency_keeps_three_digits() {
        let sums = Sums::new().unwrap();
        let mut reader = MarkReader::new(sums.clone(), 1);
        let mark = Mark {
            publisher: 0,
            sequence: 0,
            at: Duration::from_millis(5),
        };
        assert!(reader.note(mark, Duration::from_micros(12_345)));
        let kept = sums.latencies.borrow().max();
        assert!((7_340_000..7_350_000).contains(&kept), "{kept}");
    }

    #[test]
    fn a_number_older_than_the_window_counts_as_late() {
        use Order::{Duplicate, Late, Next};
        let mut seen = SequenceWindow::default();
        let orders = [0, 64, 0, 128, 64, 65, 65].map(|sequence| seen.note(sequence));
        assert_eq!(orders, [Next, Next, Late, Next, Late, Late, Duplicate]);
    }
}
