//! The messages that users write: stored first, then published, then marked as published.
//!
//! [`Accounts::unpublished`] finds messages that were stored and never marked, because the process ended in between.

use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use fanfare_core::{Channel, UserId};
use serde_json::value::RawValue;
use uuid::Uuid;

use crate::storage::{Message, new_id};
use crate::{AccountError, Accounts};

/// The longest content, and the longest attachments, in bytes.
const MAX_CONTENT_BYTES: usize = 64 * 1024;
const MAX_ATTACHMENTS_BYTES: usize = 256 * 1024;
/// The longest channel, in bytes. It is short because the message is published on a channel with a longer name.
const MAX_CHANNEL_BYTES: usize = 200;
pub(crate) const MAX_PAGE: usize = 100;
/// The number of rows in one read, and of reads for one page. A reader who may read few messages gets a short page and
/// a cursor, instead of a walk through all messages.
const BATCH: u32 = 200;
const MAX_BATCHES: usize = 10;

/// A new message.
#[derive(Clone, Copy)]
pub struct NewMessage<'a> {
    /// The author.
    pub author: &'a str,
    /// The only reader besides the author, if the message is private.
    pub recipient: Option<&'a str>,
    /// The channel, without a prefix: `general`.
    pub channel: Option<&'a str>,
    /// The text.
    pub content: &'a str,
    /// A JSON array, kept as it is; `None` is an empty one.
    pub attachments: Option<&'a RawValue>,
}

/// Decides which messages without a recipient a user may read.
pub trait ReadAccess: Send {
    /// Returns whether the first message of `ahead` may be read; `None` if that cannot be decided now. The next calls
    /// will be about the messages that follow it; the page needs `wanted` more readable messages.
    fn may_read(&mut self, ahead: &[Message], wanted: usize) -> impl Future<Output = Option<bool>> + Send;
}

/// Decides by the channel; `None` is a message to everyone.
#[cfg(test)]
impl<F: Fn(Option<&str>) -> bool + Send> ReadAccess for F {
    async fn may_read(&mut self, ahead: &[Message], _: usize) -> Option<bool> {
        let channel = ahead.first().map(|message| message.channel_id.as_deref());
        channel.map(self)
    }
}

/// A page of messages.
#[derive(Clone, Debug)]
pub struct MessagePage {
    /// The messages, newest first.
    pub messages: Vec<Message>,
    /// The cursor of the next page; `None` at the end.
    pub next_cursor: Option<String>,
}

impl Accounts {
    /// Stores a message, unpublished.
    ///
    /// # Errors
    /// [`AccountError::Bad`] with the field `content`, `recipientId`, `channelId` or `attachments`; or the database.
    pub async fn create_message(&self, new: NewMessage<'_>) -> Result<Message, AccountError> {
        check(&new)?;
        let none = RawValue::from_string("[]".to_owned());
        let none = none.map_err(|_| AccountError::fault("an empty list"))?;
        let now = self.now();
        let message = Message {
            id: new_id(),
            user_id: new.author.to_owned(),
            recipient_id: new.recipient.map(str::to_owned),
            channel_id: new.channel.map(str::to_owned),
            content: new.content.to_owned(),
            attachments: new.attachments.map_or(none, ToOwned::to_owned),
            created_at: now,
            updated_at: now,
        };
        self.inner.storage.insert_message(&message).await?;
        Ok(message)
    }

    /// Marks a message as published.
    ///
    /// # Errors
    /// If the database cannot be used.
    pub async fn mark_published(&self, id: &str) -> Result<(), AccountError> {
        Ok(self.inner.storage.mark_published(id, self.now()).await?)
    }

    /// Returns at most `limit` messages that have been unpublished for `age` or longer, oldest first. Another node may be
    /// about to publish younger ones.
    ///
    /// # Errors
    /// If the database cannot be used.
    pub async fn unpublished(&self, age: Duration, limit: u32) -> Result<Vec<Message>, AccountError> {
        let age = i64::try_from(age.as_millis()).unwrap_or(i64::MAX);
        let until = self.now().saturating_sub(age);
        Ok(self.inner.storage.unpublished_messages(until, limit).await?)
    }

    /// Returns at most `limit` (1 to 100) messages that `reader` may read, newest first. Its author and admins may read
    /// any message, and the recipient a private one; `access` decides all others. If it cannot decide, the page ends
    /// there and the next page continues.
    ///
    /// # Errors
    /// [`AccountError::Bad`] for an invalid cursor, [`AccountError::Undecided`] if not even the first message could be
    /// decided; or the database.
    pub async fn messages(
        &self,
        reader: &str,
        is_admin: bool,
        mut access: impl ReadAccess,
        limit: usize,
        cursor: Option<&str>,
    ) -> Result<MessagePage, AccountError> {
        let limit = limit.clamp(1, MAX_PAGE);
        let begin = cursor.map(from_cursor).transpose()?;
        let mut before = begin.clone();
        let mut messages = Vec::new();
        for _ in 0..MAX_BATCHES {
            let by = (!is_admin).then_some(reader);
            let batch = self.inner.storage.messages(by, before.as_deref(), BATCH).await?;
            let is_last = batch.len() < BATCH as usize;
            let mut ahead = batch.into_iter();
            while let Some(message) = ahead.as_slice().first() {
                let left = limit - messages.len();
                if left == 0 {
                    return Ok(MessagePage::until(messages, before.as_deref()));
                }
                let shown = match known_access(message, reader, is_admin) {
                    None => access.may_read(ahead.as_slice(), left).await,
                    known => known,
                };
                let Some(shown) = shown else {
                    // An undecided message must not look like the end of the list.
                    return match before.as_deref() {
                        Some(before) if Some(before) != begin.as_deref() => {
                            Ok(MessagePage::until(messages, Some(before)))
                        }
                        _ => Err(AccountError::Undecided),
                    };
                };
                if let Some(message) = ahead.next() {
                    before = Some(message.id.clone());
                    messages.extend(Some(message).filter(|_| shown));
                }
            }
            if is_last {
                return Ok(MessagePage::until(messages, None));
            }
        }
        Ok(MessagePage::until(messages, before.as_deref()))
    }
}

impl MessagePage {
    /// Returns a page before the one that begins before the message with the id `before`.
    fn until(messages: Vec<Message>, before: Option<&str>) -> Self {
        Self {
            messages,
            next_cursor: before.map(to_cursor),
        }
    }
}

/// Returns whether `reader` may read the message; `None` if a [`ReadAccess`] must decide.
pub fn known_access(message: &Message, reader: &str, is_admin: bool) -> Option<bool> {
    if is_admin || message.user_id == reader {
        return Some(true);
    }
    message.recipient_id.as_ref().map(|recipient| recipient == reader)
}

fn check(new: &NewMessage<'_>) -> Result<(), AccountError> {
    let bad = |field, issue| Err(AccountError::bad(field, issue));
    let attachments = new.attachments.map_or("[]", RawValue::get);
    if !attachments.starts_with('[') {
        return bad("attachments", "expected a list");
    }
    if attachments.len() > MAX_ATTACHMENTS_BYTES {
        return bad("attachments", "longer than 256 KiB");
    }
    if new.content.is_empty() {
        return bad("content", "required");
    }
    if new.content.len() > MAX_CONTENT_BYTES {
        return bad("content", "longer than 64 KiB");
    }
    // PostgreSQL cannot store NUL in a text.
    if new.content.contains('\0') {
        return bad("content", "holds a NUL character");
    }
    if new.recipient.is_some_and(|id| UserId::new(id).is_err()) {
        return bad("recipientId", "not a user id");
    }
    let is_channel = |name: &str| name.len() <= MAX_CHANNEL_BYTES && Channel::new(name).is_ok();
    if !new.channel.is_none_or(is_channel) {
        return bad("channelId", "not the name of a channel");
    }
    Ok(())
}

/// Returns the opaque cursor behind the message with this id.
fn to_cursor(id: &str) -> String {
    let bytes = Uuid::try_parse(id).unwrap_or_default().into_bytes();
    URL_SAFE_NO_PAD.encode(bytes)
}

fn from_cursor(cursor: &str) -> Result<String, AccountError> {
    let bytes = URL_SAFE_NO_PAD.decode(cursor).ok();
    let id = bytes.and_then(|bytes| Uuid::from_slice(&bytes).ok());
    id.map(|id| id.hyphenated().to_string())
        .ok_or(AccountError::bad("cursor", "not one that was answered"))
}
