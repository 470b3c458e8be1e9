//! Reads the journal's state and the streams of audiences.

use bytes::Bytes;
use fanfare_cluster::transport::{
    Failed,
    journal::{StoredMessage, Tops},
};
use fanfare_core::{
    Audience,
    history::{Cursor, Position},
    journal::ReplayScope,
};
use redis::Value;

use super::{super::read, Connection};
use crate::journal_reads::{JournalReader, Range, TimedMessage, matches};

/// The most audiences in one call.
const AUDIENCES: usize = 1024;

impl JournalReader for Connection {
    async fn state(
        &self,
        audiences: &[Audience],
        wanted: Option<(u64, &ReplayScope)>,
    ) -> Result<(Tops, u64), Failed> {
        let mut chunks = audiences.chunks(AUDIENCES);
        let first = chunks.next().unwrap_or_default();
        let (mut tops, now) = self.tops_of(first, wanted.map(|(after, _)| after)).await?;
        let is_wanted = |audience: &Audience| wanted.is_some_and(|(_, scope)| matches(scope, audience));
        tops.others.retain(|(audience, _)| is_wanted(audience));
        for chunk in chunks {
            let (more, _) = self.tops_of(chunk, None).await?;
            if more.present.epoch != tops.present.epoch {
                return Err("the journal began anew meanwhile".to_owned());
            }
            tops.tops.extend(more.tops);
        }
        Ok((tops, now))
    }

    async fn range(
        &self,
        present: Cursor,
        audiences: &[Audience],
        range: Range,
    ) -> Result<Vec<Vec<TimedMessage>>, Failed> {
        let commands = audiences.iter().map(|audience| {
            let stream = self.names.stream(present.epoch, audience);
            let (low, high) = (
                range.after.saturating_add(1).to_string(),
                format!("({}", range.before),
            );
            let mut command = redis::cmd(if range.newest { "XREVRANGE" } else { "XRANGE" });
            command.arg(stream);
            if range.newest {
                command.arg(high).arg(low);
            } else {
                command.arg(low).arg(high);
            }
            command.arg("COUNT").arg(range.count).to_owned()
        });
        let answers = self.execute(commands.collect()).await;
        if answers.lost {
            return Err("connection lost".to_owned());
        }
        if let Some(refused) = answers.refused {
            return Err(refused);
        }
        let answers = answers.value.into_iter().zip(audiences);
        let messages = answers.map(|(answer, audience)| {
            let Value::Array(entries) = answer else {
                return Vec::new();
            };
            let entries = entries.into_iter();
            entries
                .filter_map(|entry| message(audience, present, entry))
                .collect()
        });
        Ok(messages.collect())
    }
}

/// Reads an entry of a stream. Returns `None` for an entry that no node wrote.
fn message(audience: &Audience, present: Cursor, entry: Value) -> Option<TimedMessage> {
    let (id, mut fields): (String, Vec<Value>) = redis::from_redis_value(entry).ok()?;
    fields.truncate(6); // a later version may write more
    let (number, kept_at) = id.split_once('-')?;
    let (number, kept_at): (u64, u64) = (number.parse().ok()?, kept_at.parse().ok()?);
    let [p, prev, t, ttl, m, Value::BulkString(payload)] = <[Value; 6]>::try_from(fields).ok()? else {
        return None;
    };
    let (prev, ttl): (u64, u64) = (read(&prev)?, read(&ttl)?);
    let names: [String; 3] = [read(&p)?, read(&t)?, read(&m)?];
    if names != ["p", "t", "m"] || prev >= number {
        return None;
    }
    let message = StoredMessage {
        audience: audience.clone(),
        payload: Bytes::from(payload),
        position: Position {
            epoch: present.epoch,
            number,
            prev,
        },
    };
    Some(TimedMessage {
        message,
        kept_at,
        expires_at: kept_at.saturating_add(ttl),
    })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use fanfare_core::history::Epoch;

    use super::*;

    #[test]
    fn further_fields_of_an_entry_are_ignored() {
        let (epoch, text) = (Epoch(1), |text: &&str| {
            Value::BulkString(text.as_bytes().to_vec())
        });
        let read = |words: &str| {
            let fields = words.split_whitespace().collect::<Vec<_>>();
            let entry = vec![text(&"7-1000"), Value::Array(fields.iter().map(text).collect())];
            let present = Cursor { epoch, number: 9 };
            let found = message(&Audience::Everyone, present, Value::Array(entry))?;
            Some((
                found.message.position.prev,
                found.message.payload,
                found.expires_at,
            ))
        };
        let expected = Some((3, Bytes::from("{}"), 1050));
        assert_eq!(read("p 3 t 50 m {}"), expected);
        assert_eq!(read("p 3 t 50 m {} later 1"), expected);
        for other in [
            "p 3 t 50",
            "p 7 t 50 m {}",
            "t 50 p 3 m {}",
            "p 3 later 1 t 50 m {}",
            "hello world",
        ] {
            assert_eq!(read(other), None, "{other}");
        }
    }
}
