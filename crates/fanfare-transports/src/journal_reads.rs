//! Answers queries to a journal, in the same way for every server: finds the audiences, reads their messages in one order, and decides
//! whether they are complete.

use std::cmp::Reverse;

use fanfare_cluster::transport::{
    Failed,
    journal::{StoredMessage, StoredReplay, Tops},
};
use fanfare_core::{
    Audience, Pattern,
    history::{Cursor, Epoch, Unrecovered},
    journal::{ReplayFrom, ReplayQuery, ReplayScope, is_complete},
    millis,
};

/// The most audiences that are read at once.
const AUDIENCES: usize = 64;

/// The messages of an audience to read: those between two numbers, both exclusive.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Range {
    pub(crate) after: u64,
    pub(crate) before: u64,
    pub(crate) count: usize,
    /// Reads from the end, newest first.
    pub(crate) newest: bool,
}

/// A kept message. Times are milliseconds since 1970 by the server's clock.
pub(crate) struct TimedMessage {
    pub(crate) message: StoredMessage,
    pub(crate) kept_at: u64,
    pub(crate) expires_at: u64,
}

impl TimedMessage {
    fn number(&self) -> u64 {
        self.message.position.number
    }
}

/// Reads the name of an epoch.
pub(crate) fn epoch(name: &str) -> Option<Epoch> {
    u64::from_str_radix(name, 16).ok().map(Epoch)
}

/// Returns whether `audience` is a channel that `scope` matches.
pub(crate) fn matches(scope: &ReplayScope, audience: &Audience) -> bool {
    matches!(audience, Audience::Channel(channel) if scope.matches(channel))
}

/// Reads a journal on its server.
pub(crate) trait JournalReader: Sync {
    /// Returns the last numbers of `audiences`. With `wanted`, also returns the channels of the scope whose last number is behind the one
    /// given. The second value is the server's time, in milliseconds.
    fn state(
        &self,
        audiences: &[Audience],
        wanted: Option<(u64, &ReplayScope)>,
    ) -> impl Future<Output = Result<(Tops, u64), Failed>> + Send;

    /// Returns the kept messages of each of `audiences` in `range`, and possibly some behind the range.
    fn range(
        &self,
        present: Cursor,
        audiences: &[Audience],
        range: Range,
    ) -> impl Future<Output = Result<Vec<Vec<TimedMessage>>, Failed>> + Send;
}

/// Answers `query`.
///
/// # Errors
/// If the connection is lost or the server refuses.
pub(crate) async fn read(journal: &impl JournalReader, query: &ReplayQuery) -> Result<StoredReplay, Failed> {
    let after = match query.from {
        ReplayFrom::After(cursor) => cursor.number,
        ReplayFrom::Page {
            since,
            reverse: false,
        } => since.map_or(0, |cursor| cursor.number),
        _ => 0,
    };
    let mut named: Vec<Audience> = query.scope.named().collect();
    if query.from == ReplayFrom::Present {
        named.clear();
    }
    let has_patterns = !query.scope.patterns.is_empty() && query.from != ReplayFrom::Present;
    let wanted = has_patterns.then_some((after, &query.scope));
    let (tops, now) = journal.state(&named, wanted).await?;
    let (present, floor) = (tops.present, tops.floor);
    let bad = |cursor: Cursor| {
        if cursor.epoch == present.epoch {
            (cursor.number > present.number).then_some(Unrecovered::Unknown)
        } else {
            Some(Unrecovered::Epoch)
        }
    };
    let reading = Reading {
        journal,
        present,
        now,
        may_be_forgotten: !query.scope.patterns.is_empty() || tops.tops.contains(&0),
        forgotten: tops.forgotten,
        audiences: by_last_number(named, tops),
        limit: query.limit,
    };
    let (messages, unrecovered) = match query.from {
        ReplayFrom::Present => (Vec::new(), None),
        ReplayFrom::After(cursor) => match bad(cursor) {
            Some(reason) => (Vec::new(), Some(reason)),
            None => match reading.all_behind(cursor.number).await? {
                Ok(messages) => (messages, None),
                Err(reason) => (Vec::new(), Some(reason)),
            },
        },
        ReplayFrom::Newest(count) => (reading.newest(count, 0).await?, None),
        ReplayFrom::Within(age) => {
            let since = now.saturating_sub(millis(age));
            (reading.newest(query.limit, since).await?, None)
        }
        ReplayFrom::Page { since, reverse } => {
            let reason = since.and_then(bad);
            let since = since.filter(|_| reason.is_none());
            let (messages, gone) = reading.page(since, reverse).await?;
            (messages, reason.or(gone))
        }
    };
    Ok(StoredReplay {
        present,
        unrecovered,
        floor,
        messages,
    })
}

/// Returns the state of the journal, the last numbers of `audiences`, and the channels whose last number is above `behind`.
///
/// # Errors
/// If the connection is lost or the server refuses.
pub(crate) async fn tops(
    journal: &impl JournalReader,
    audiences: &[Audience],
    behind: Option<u64>,
) -> Result<Tops, Failed> {
    let all = ReplayScope {
        patterns: Pattern::new("**").into_iter().collect(),
        ..ReplayScope::default()
    };
    let wanted = behind.map(|behind| (behind, &all));
    Ok(journal.state(audiences, wanted).await?.0)
}

/// Returns the audiences that have a last number, the highest first.
fn by_last_number(named: Vec<Audience>, tops: Tops) -> Vec<(Audience, u64)> {
    let mut audiences: Vec<(Audience, u64)> = named.into_iter().zip(tops.tops).collect();
    audiences.extend(tops.others);
    audiences.retain(|(_, top)| *top > 0);
    audiences.sort_by_key(|(_, top)| Reverse(*top));
    // Two audiences never have one number.
    audiences.dedup_by_key(|(_, top)| *top);
    audiences
}

/// A query that is being answered.
struct Reading<'a, J> {
    journal: &'a J,
    present: Cursor,
    /// The server's time, in milliseconds.
    now: u64,
    /// The audiences of the query with their last numbers, the highest first.
    audiences: Vec<(Audience, u64)>,
    /// An audience of the query may have no known number.
    may_be_forgotten: bool,
    /// The highest number that an audience without a known number can have.
    forgotten: u64,
    limit: usize,
}

impl<J: JournalReader> Reading<'_, J> {
    /// Returns all messages behind `after`, or the reason why they cannot be recovered.
    async fn all_behind(&self, after: u64) -> Result<Result<Vec<StoredMessage>, Unrecovered>, Failed> {
        let range = self.range(after, self.limit.saturating_add(1), false);
        let mut messages = Vec::new();
        if self.is_forgotten(after) {
            return Ok(Err(Unrecovered::Expired));
        }
        for some in self.behind(after).chunks(AUDIENCES) {
            let read = self.read(some, range).await?;
            if !is_whole(some, &read, range) {
                return Ok(Err(Unrecovered::Expired));
            }
            messages.extend(within(read, range));
            if messages.len() > self.limit {
                return Ok(Err(Unrecovered::Limit));
            }
        }
        Ok(Ok(in_order(messages)))
    }

    /// Returns the newest `count` messages that were kept at `since` or later, up to the limit, the oldest first.
    async fn newest(&self, count: usize, since: u64) -> Result<Vec<StoredMessage>, Failed> {
        let count = count.min(self.limit);
        let mut messages = Vec::new();
        // The newest `count` of all are in the `count` audiences that were last published to.
        let audiences = &self.audiences[..self.audiences.len().min(count)];
        for some in audiences.chunks(AUDIENCES) {
            let range = self.range(0, count, true);
            let read = self.read(some, range).await?;
            messages.extend(within(read, range).filter(|message| message.kept_at >= since));
            keep_newest(&mut messages, count);
        }
        Ok(in_order(messages))
    }

    /// Returns a page, and the reason if it does not continue where the last page ended.
    async fn page(
        &self,
        since: Option<Cursor>,
        reverse: bool,
    ) -> Result<(Vec<StoredMessage>, Option<Unrecovered>), Failed> {
        let number = since.map(|cursor| cursor.number);
        let after = number.filter(|_| !reverse).unwrap_or(0);
        let before = number.filter(|_| reverse);
        let mut range = self.range(after, self.limit, reverse);
        range.before = before.map_or(range.before, |before| before.min(range.before));
        let mut is_complete = since.is_none() || reverse || !self.is_forgotten(after);
        let mut messages = Vec::new();
        for some in self.behind(after).chunks(AUDIENCES) {
            let read = self.read(some, range).await?;
            is_complete &= since.is_none() || reverse || is_whole(some, &read, range);
            messages.extend(within(read, range));
            if reverse {
                keep_newest(&mut messages, self.limit);
            } else {
                messages.sort_unstable_by_key(TimedMessage::number);
                messages.truncate(self.limit);
            }
        }
        let mut messages = in_order(messages);
        if reverse {
            messages.reverse();
        }
        Ok((messages, (!is_complete).then_some(Unrecovered::Expired)))
    }

    /// Returns a range up to the present: messages that were numbered later are not in it.
    fn range(&self, after: u64, count: usize, newest: bool) -> Range {
        Range {
            after,
            before: self.present.number.saturating_add(1),
            count,
            newest,
        }
    }

    /// Returns the audiences whose last number is behind `after`.
    fn behind(&self, after: u64) -> &[(Audience, u64)] {
        let count = self.audiences.partition_point(|(_, top)| *top > after);
        &self.audiences[..count]
    }

    /// Returns whether an audience without a known number may have had messages behind `after`.
    fn is_forgotten(&self, after: u64) -> bool {
        self.may_be_forgotten && self.forgotten > after
    }

    /// Returns the messages of each audience that have not expired, and possibly some that were numbered meanwhile.
    async fn read(&self, some: &[(Audience, u64)], range: Range) -> Result<Vec<Vec<TimedMessage>>, Failed> {
        let audiences: Vec<Audience> = some.iter().map(|(audience, _)| audience.clone()).collect();
        let mut read = self.journal.range(self.present, &audiences, range).await?;
        for messages in &mut read {
            messages.retain(|message| message.expires_at > self.now && message.number() > range.after);
        }
        Ok(read)
    }
}

/// Returns whether the whole `range` of each audience was read, up to the count.
fn is_whole(audiences: &[(Audience, u64)], read: &[Vec<TimedMessage>], range: Range) -> bool {
    audiences.len() == read.len()
        && audiences.iter().zip(read).all(|((_, top), messages)| {
            let oldest = messages.first().map(|first| first.message.position.prev);
            let last = messages.last().map_or(range.after, TimedMessage::number);
            is_complete(range.after, *top, oldest)
                && has_no_hole(messages)
                && (last >= (*top).min(range.before - 1) || messages.len() >= range.count)
        })
}

/// Returns the messages before the end of `range`.
fn within(read: Vec<Vec<TimedMessage>>, range: Range) -> impl Iterator<Item = TimedMessage> {
    let messages = read.into_iter().flatten();
    messages.filter(move |message| message.number() < range.before)
}

/// Returns whether each message follows the one before it: the server may have removed one in the middle.
fn has_no_hole(messages: &[TimedMessage]) -> bool {
    let mut pairs = messages.windows(2);
    pairs.all(|pair| pair[1].message.position.prev <= pair[0].number())
}

/// Removes all messages except the newest `count`.
fn keep_newest(messages: &mut Vec<TimedMessage>, count: usize) {
    messages.sort_unstable_by_key(|message| Reverse(message.number()));
    messages.truncate(count);
}

/// Returns the messages, the oldest first.
fn in_order(mut messages: Vec<TimedMessage>) -> Vec<StoredMessage> {
    messages.sort_unstable_by_key(TimedMessage::number);
    messages.into_iter().map(|timed| timed.message).collect()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use std::time::Duration;

    use fanfare_core::{Channel, history::Position};

    use super::*;

    const TTL: u64 = 60_000;
    const EPOCH: Epoch = Epoch(1);

    /// A journal with the messages of one audience, and a clock that the test sets.
    struct FakeJournal {
        now: u64,
        /// The number of each message, and the time at which it was kept.
        messages: Vec<(u64, u64)>,
    }

    fn audience() -> Audience {
        Audience::Channel(Channel::new("a").unwrap())
    }

    impl JournalReader for FakeJournal {
        async fn state(
            &self,
            audiences: &[Audience],
            _: Option<(u64, &ReplayScope)>,
        ) -> Result<(Tops, u64), Failed> {
            let tops = Tops {
                present: Cursor {
                    epoch: EPOCH,
                    number: 5,
                },
                forgotten: 0,
                floor: 0,
                tops: vec![5; audiences.len()],
                others: Vec::new(),
                journals: 1,
            };
            Ok((tops, self.now))
        }

        async fn range(
            &self,
            _: Cursor,
            _: &[Audience],
            range: Range,
        ) -> Result<Vec<Vec<TimedMessage>>, Failed> {
            let in_range = |(number, _): &&(u64, u64)| *number > range.after && *number < range.before;
            let message = |&(number, at): &(u64, u64)| {
                let prev = number - 1;
                let position = Position {
                    epoch: EPOCH,
                    number,
                    prev,
                };
                let message = StoredMessage {
                    audience: audience(),
                    payload: number.to_string().into(),
                    position,
                };
                TimedMessage {
                    message,
                    kept_at: at,
                    expires_at: at + TTL,
                }
            };
            let mut read: Vec<TimedMessage> = self.messages.iter().filter(in_range).map(message).collect();
            if range.newest {
                read.reverse();
            }
            read.truncate(range.count);
            Ok(vec![read])
        }
    }

    async fn read_from(journal: &FakeJournal, from: ReplayFrom) -> (Option<Unrecovered>, String) {
        let query = ReplayQuery {
            scope: ReplayScope::of(&audience()),
            from,
            limit: 10,
        };
        let replay = read(journal, &query).await.unwrap();
        let texts = replay
            .messages
            .iter()
            .map(|message| String::from_utf8_lossy(&message.payload).into_owned());
        (replay.unrecovered, texts.collect::<Vec<_>>().join(" "))
    }

    fn after(number: u64) -> ReplayFrom {
        ReplayFrom::After(Cursor { epoch: EPOCH, number })
    }

    #[tokio::test]
    async fn nothing_wrong_is_recovered_when_the_clock_jumps() {
        let messages = (1..=5)
            .map(|number| (number, 1_000_000 + 1000 * number))
            .collect();
        let mut journal = FakeJournal {
            now: 1_010_000,
            messages,
        };
        let all = || (None, "1 2 3 4 5".to_owned());
        assert_eq!(read_from(&journal, after(0)).await, all());
        // The clock is set back: kept messages have times of the future.
        journal.now -= 3_600_000 / 4;
        assert_eq!(read_from(&journal, after(0)).await, all());
        assert_eq!(
            read_from(&journal, ReplayFrom::Within(Duration::from_secs(1))).await,
            all()
        );
        // It is set ahead: all messages are too old.
        journal.now += 3_600_000;
        assert_eq!(
            read_from(&journal, after(0)).await,
            (Some(Unrecovered::Expired), String::new())
        );
        assert_eq!(read_from(&journal, after(5)).await, (None, String::new()));
        assert_eq!(
            read_from(&journal, ReplayFrom::Newest(9)).await,
            (None, String::new())
        );
        // It is right again, but one event was kept while it was ahead.
        journal.now = 1_010_000;
        journal.messages[4].1 += 3_600_000;
        assert_eq!(read_from(&journal, after(0)).await, all());
        journal.now = 1_063_500;
        assert_eq!(
            read_from(&journal, after(2)).await,
            (Some(Unrecovered::Expired), String::new())
        );
        assert_eq!(read_from(&journal, after(3)).await, (None, "4 5".to_owned()));
    }

    #[tokio::test]
    async fn a_removed_message_is_missed_at_any_position() {
        for removed in 0..5 {
            let mut messages: Vec<(u64, u64)> = (1..=5).map(|number| (number, 1_000_000)).collect();
            messages.remove(removed);
            let journal = FakeJournal {
                now: 1_000_000,
                messages,
            };
            for cursor in 0..=5 {
                let (unrecovered, _) = read_from(&journal, after(cursor)).await;
                let expected = (cursor <= removed as u64).then_some(Unrecovered::Expired);
                assert_eq!(unrecovered, expected, "{removed} {cursor}");
            }
        }
    }
}
