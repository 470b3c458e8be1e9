//! Reads the journal's state, and its messages audience by audience: JetStream returns the next message on a subject from a number on.

use fanfare_cluster::transport::{
    Failed, Subject,
    journal::{StoredMessage, Tops},
};
use fanfare_core::{
    Audience,
    history::{Cursor, Position, Retention},
    journal::ReplayScope,
    millis, unix_millis,
};
use futures_util::future::try_join_all;
use serde_json::json;

use super::{Journal, epoch_of, left_by_purge, retention};
use crate::{
    journal_reads::{JournalReader, Range, TimedMessage, matches},
    nats::{
        jetstream::{self, StoredValue, api},
        requests::{Reply, RequestError},
    },
};

/// A message in the stream, and the retention of its audience.
struct StreamMessage {
    stored: StoredValue,
    retention: Option<Retention>,
}

impl JournalReader for Journal {
    async fn state(
        &self,
        audiences: &[Audience],
        wanted: Option<(u64, &ReplayScope)>,
    ) -> Result<(Tops, u64), Failed> {
        self.read_state(audiences, wanted)
            .await
            .map_err(RequestError::reason)
    }

    async fn range(
        &self,
        present: Cursor,
        audiences: &[Audience],
        range: Range,
    ) -> Result<Vec<Vec<TimedMessage>>, Failed> {
        let read = audiences
            .iter()
            .map(|audience| self.read_audience(present, audience, range));
        try_join_all(read).await.map_err(RequestError::reason)
    }
}

impl Journal {
    async fn read_state(
        &self,
        audiences: &[Audience],
        wanted: Option<(u64, &ReplayScope)>,
    ) -> Result<(Tops, u64), RequestError> {
        self.epoch().await?;
        let info = jetstream::stream_info(&self.requests, &self.stream).await?;
        let now = self.ids.prepare().await?.now_ms();
        let present = Cursor {
            epoch: epoch_of(info.created_at()?),
            number: info.state.last_seq,
        };
        let mut others = Vec::new();
        if let Some((after, scope)) = wanted
            && after < present.number
        {
            let matching = self.channels(scope).await?;
            let tops = self.last_numbers(&matching).await?;
            others.extend(matching.into_iter().zip(tops).filter(|(_, top)| *top > after));
        }
        let tops = Tops {
            present,
            tops: self.last_numbers(audiences).await?,
            others,
            forgotten: info.state.first_seq.saturating_sub(1).min(present.number),
            floor: 0,
            journals: info.state.num_subjects,
        };
        Ok((tops, now))
    }

    /// Returns the channels in the stream that `scope` matches.
    async fn channels(&self, scope: &ReplayScope) -> Result<Vec<Audience>, RequestError> {
        let (filter, mut channels) = (self.subject(&Subject::AllChannels), Vec::new());
        jetstream::for_each_subject(&self.requests, &self.stream, &filter, |subject| {
            let audience = self.audience(subject);
            channels.extend(audience.filter(|audience| matches(scope, audience)));
        })
        .await?;
        Ok(channels)
    }

    /// Returns the audience of a subject in the stream; `None` for a subject that no node wrote.
    fn audience(&self, subject: &str) -> Option<Audience> {
        let name = subject.strip_prefix(&self.stream)?.strip_prefix('.')?;
        match self.names.read(name.as_bytes()).ok()? {
            Subject::Audience(audience) => Some(audience),
            _ => None,
        }
    }

    fn subject_of(&self, audience: &Audience) -> String {
        self.subject(&Subject::Audience(audience.clone()))
    }

    async fn last_numbers(&self, audiences: &[Audience]) -> Result<Vec<u64>, RequestError> {
        let requests = audiences
            .iter()
            .map(|audience| jetstream::get_last(&self.stream, &self.subject_of(audience)));
        let replies = self.requests.send(requests).await.into_iter();
        let number = |reply| Ok(jetstream::stored_value(reply)?.map_or(0, |found| found.sequence));
        replies.map(number).collect()
    }

    /// Returns the kept messages of `audience` that are in `range`.
    async fn read_audience(
        &self,
        present: Cursor,
        audience: &Audience,
        range: Range,
    ) -> Result<Vec<TimedMessage>, RequestError> {
        let subject = self.subject_of(audience);
        if range.newest && range.before > present.number {
            let newest = self.newest(&subject, present.number, range.count).await?;
            let with_prev = newest.into_iter().map(|message| {
                let prev = message.stored.sequence - 1;
                (message, prev)
            });
            return Ok(in_range(audience, present, with_prev.collect(), range));
        }
        let Some(first) = self.next(&subject, 1).await? else {
            return Ok(Vec::new());
        };
        let is_from_first = first.stored.sequence > range.after || range.newest;
        let from = if is_from_first {
            first.stored.sequence
        } else {
            range.after + 1
        };
        let messages = self.walk(&subject, from, u64::MAX).await?;
        let info = jetstream::stream_info(&self.requests, &self.stream).await?;
        let left_from = self
            .next(&subject, 1)
            .await?
            .map_or(u64::MAX, |first| first.stored.sequence);
        // The number before the first message that was read: earlier messages may have been purged.
        let mut prev = match (is_from_first, left_from > from) {
            // Messages were purged meanwhile, possibly before they were read.
            (_, true) => left_from - 1,
            (true, false) if is_whole(&messages) => from.min(info.state.first_seq).saturating_sub(1),
            (_, false) => from - 1,
        };
        let left = messages
            .into_iter()
            .filter(|message| message.stored.sequence >= left_from || left_from <= from);
        let with_prev = left.map(|message| {
            let before = std::mem::replace(&mut prev, message.stored.sequence);
            (message, before)
        });
        Ok(in_range(audience, present, with_prev.collect(), range))
    }

    /// Returns the newest `count` messages on `subject` up to `last`, possibly more. Searches from the end, in growing parts.
    async fn newest(
        &self,
        subject: &str,
        last: u64,
        count: usize,
    ) -> Result<Vec<StreamMessage>, RequestError> {
        let mut width = (count as u64).saturating_mul(2).max(64);
        let (mut messages, mut end) = (Vec::new(), last.saturating_add(1));
        while messages.len() < count && end > 1 {
            let start = last.saturating_add(1).saturating_sub(width).max(1);
            let mut part = self.walk(subject, start, end).await?;
            part.append(&mut messages);
            (messages, end) = (part, start);
            width = width.saturating_mul(4);
        }
        Ok(messages)
    }

    /// Returns the messages on `subject` from the number `from` to before `until`.
    async fn walk(&self, subject: &str, from: u64, until: u64) -> Result<Vec<StreamMessage>, RequestError> {
        let (mut messages, mut next) = (Vec::new(), from);
        while let Some(message) = self
            .next(subject, next)
            .await?
            .filter(|found| found.stored.sequence < until)
        {
            next = message.stored.sequence + 1;
            messages.push(message);
        }
        Ok(messages)
    }

    /// Returns the first message on `subject` with this number or a higher one.
    async fn next(&self, subject: &str, number: u64) -> Result<Option<StreamMessage>, RequestError> {
        let body = json!({"seq": number, "next_by_subj": subject});
        let request = api("DIRECT.GET", &self.stream, &body);
        message(self.requests.send_one(request).await)
    }
}

/// Returns whether no node has purged the audience of these remaining messages. A purge leaves at least the retention of the message that
/// caused it, and that message.
fn is_whole(messages: &[StreamMessage]) -> bool {
    let sizes = messages
        .iter()
        .map(|message| message.retention.map_or(0, left_by_purge));
    sizes.min().is_none_or(|least| messages.len() < least as usize)
}

/// Returns the kept messages in `range` among the remaining messages of an audience, each with its `prev`. Messages that were stored after
/// the numbers were read are included: they show whether messages are missing before them.
fn in_range(
    audience: &Audience,
    present: Cursor,
    messages: Vec<(StreamMessage, u64)>,
    range: Range,
) -> Vec<TimedMessage> {
    let newest = messages.last().and_then(|(last, _)| last.retention);
    let size = newest.map_or(0, |retention| retention.size as usize);
    let more = messages.len().saturating_sub(size);
    let kept = messages.into_iter().skip(more).filter_map(|(message, prev)| {
        let ttl = millis(message.retention?.ttl);
        let (number, kept_at) = (message.stored.sequence, unix_millis(message.stored.at));
        let is_in = number > range.after && (number < range.before || !range.newest);
        let message = StoredMessage {
            audience: audience.clone(),
            payload: message.stored.value,
            position: Position {
                epoch: present.epoch,
                number,
                prev: prev.min(number - 1),
            },
        };
        is_in.then_some(TimedMessage {
            message,
            kept_at,
            expires_at: kept_at.saturating_add(ttl),
        })
    });
    let mut kept: Vec<TimedMessage> = kept.collect();
    if range.newest {
        kept.reverse();
    }
    kept.truncate(range.count);
    kept
}

/// Reads the message in JetStream's reply.
fn message(reply: Reply) -> Result<Option<StreamMessage>, RequestError> {
    let retention = reply.as_ref().ok().and_then(retention);
    let found = jetstream::stored_value(reply)?;
    Ok(found.map(|stored| StreamMessage { stored, retention }))
}
