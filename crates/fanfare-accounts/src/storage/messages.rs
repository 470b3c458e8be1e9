//! The table of messages that users wrote to each other.

use std::fmt;

use serde_json::value::RawValue;
use sqlx::{Row, any::AnyRow};

use super::{Result, Storage, statement};

/// A stored message. Times are milliseconds since 1970.
#[derive(Clone)]
pub struct Message {
    /// A UUID; later messages have larger ones.
    pub id: String,
    /// The author.
    pub user_id: String,
    /// The only reader besides the author, if the message is private.
    pub recipient_id: Option<String>,
    /// The channel.
    pub channel_id: Option<String>,
    /// The text.
    pub content: String,
    /// JSON, as it arrived.
    pub attachments: Box<RawValue>,
    /// The time of its creation.
    pub created_at: i64,
    /// The time of its last change.
    pub updated_at: i64,
}

/// Users' messages stay out of logs.
impl fmt::Debug for Message {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Message").field(&self.id).finish()
    }
}

macro_rules! columns {
    () => {
        "id, user_id, recipient_id, channel_id, content, attachments, created_at, updated_at"
    };
}
macro_rules! select {
    ($which:literal) => {
        concat!("SELECT ", columns!(), " FROM messages WHERE ", $which)
    };
}

/// Each of the three parts reads at most `limit` rows by an index. So the cost does not depend on the number of messages
/// of other users.
const READABLE: &str = select!(
    "id IN (\
     SELECT id FROM (SELECT id FROM messages WHERE recipient_id IS NULL AND id < $2 ORDER BY id DESC LIMIT $3) AS a \
     UNION SELECT id FROM (SELECT id FROM messages WHERE recipient_id = $1 AND id < $2 \
     ORDER BY id DESC LIMIT $3) AS b \
     UNION SELECT id FROM (SELECT id FROM messages WHERE user_id = $1 AND id < $2 \
     ORDER BY id DESC LIMIT $3) AS c\
     ) ORDER BY id DESC LIMIT $3"
);
const ALL: &str = select!("id < $1 ORDER BY id DESC LIMIT $2");
const UNPUBLISHED: &str = select!("published_at IS NULL AND created_at <= $1 ORDER BY id LIMIT $2");
/// A text that sorts after every UUID.
const END: &str = "g";

impl Storage {
    /// Stores a message as unpublished, until [`Self::mark_published`].
    pub(crate) async fn insert_message(&self, message: &Message) -> Result<()> {
        let insert = concat!(
            "INSERT INTO messages (",
            columns!(),
            ") VALUES ($1, $2, $3, $4, $5, $6, $7, $7)"
        );
        let query = statement(insert)
            .bind(message.id.clone())
            .bind(message.user_id.clone())
            .bind(message.recipient_id.clone())
            .bind(message.channel_id.clone())
            .bind(message.content.clone())
            .bind(message.attachments.get().to_owned())
            .bind(message.created_at);
        self.change(query).await.map(drop)
    }

    pub(crate) async fn mark_published(&self, id: &str, now: i64) -> Result<()> {
        let query = statement("UPDATE messages SET published_at = $2 WHERE id = $1 AND published_at IS NULL")
            .bind(id.to_owned())
            .bind(now);
        self.change(query).await.map(drop)
    }

    /// Returns the messages written at or before `until` that were never published, oldest first.
    pub(crate) async fn unpublished_messages(&self, until: i64, limit: u32) -> Result<Vec<Message>> {
        let query = statement(UNPUBLISHED).bind(until).bind(i64::from(limit));
        self.all(query, read).await
    }

    /// Returns at most `limit` messages before the one with the id `before`, newest first: those by or to `reader`, and
    /// those without a recipient; without a reader, all.
    pub(crate) async fn messages(
        &self,
        reader: Option<&str>,
        before: Option<&str>,
        limit: u32,
    ) -> Result<Vec<Message>> {
        let before = before.unwrap_or(END).to_owned();
        let query = match reader {
            Some(user) => statement(READABLE).bind(user.to_owned()).bind(before),
            None => statement(ALL).bind(before),
        };
        let query = query.bind(i64::from(limit));
        self.all(query, read).await
    }
}

fn read(row: &AnyRow) -> sqlx::Result<Message> {
    let attachments: String = row.try_get("attachments")?;
    let attachments = RawValue::from_string(attachments).map_err(|error| sqlx::Error::ColumnDecode {
        index: "attachments".to_owned(),
        source: error.into(),
    })?;
    Ok(Message {
        id: row.try_get("id")?,
        user_id: row.try_get("user_id")?,
        recipient_id: row.try_get("recipient_id")?,
        channel_id: row.try_get("channel_id")?,
        content: row.try_get("content")?,
        attachments,
        created_at: row.try_get("created_at")?,
        updated_at: row.try_get("updated_at")?,
    })
}
