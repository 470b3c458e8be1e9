//! Publishes stored messages: one event for each channel of a message, exactly once, also after a crash.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use bytes::Bytes;
use fanfare_accounts::{
    Accounts,
    storage::{Message, time_of},
};
use fanfare_cluster::wire::uuid_v5;
use fanfare_core::{
    Audience, BrokerHealth, Channel, Event, PublishOptions, RawJson, Sender, UserId,
    policy::{KnownNames, Place},
    timestamp,
};
use fanfare_engine::{Conflict, Node};
use serde::Serialize;
use serde_json::value::RawValue;
use tokio::task::JoinHandle;
use utoipa::ToSchema;
use uuid::Uuid;

/// The channel of every message; those of users and channels are below it.
pub const MESSAGES_CHANNEL: &str = "messages";
const KIND: &str = "message.sent";

/// After this time, the request that stored a message no longer publishes it.
const ABANDONED_AFTER: Duration = Duration::from_secs(30);
const SEARCH_EVERY: Duration = Duration::from_secs(10);
/// The time until the first search, in which clients reconnect, and between two attempts.
const CLIENTS_COME_BACK: Duration = Duration::from_secs(5);
const TRY_AGAIN: Duration = Duration::from_secs(1);
const SEARCHED_AT_ONCE: u32 = 100;

/// A message as clients see it.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = Message)]
pub struct MessageView<'a> {
    id: &'a str,
    user_id: &'a str,
    #[schema(required)]
    recipient_id: Option<&'a str>,
    #[schema(required)]
    channel_id: Option<&'a str>,
    content: &'a str,
    #[schema(value_type = Vec<serde_json::Value>)]
    attachments: &'a RawValue,
    #[schema(format = DateTime)]
    created_at: String,
    #[schema(format = DateTime)]
    updated_at: String,
}

/// Returns the channel of the messages in `channel`; `None` if that is not a channel's name.
pub fn feed(channel: &str) -> Option<Channel> {
    Channel::new(&format!("{MESSAGES_CHANNEL}.channel.{channel}")).ok()
}

/// Returns the channel whose rules guard the messages in `channel`, or in none; `None` if that is not a channel's name.
pub fn guard(channel: Option<&str>) -> Option<Channel> {
    match channel {
        Some(channel) => feed(channel),
        None => Channel::new(MESSAGES_CHANNEL).ok(),
    }
}

/// Returns the message as JSON, with the attachments as they were sent; `None` if it cannot be written.
pub fn to_json(message: &Message) -> Option<Box<RawValue>> {
    let shown = MessageView {
        id: &message.id,
        user_id: &message.user_id,
        recipient_id: message.recipient_id.as_deref(),
        channel_id: message.channel_id.as_deref(),
        content: &message.content,
        attachments: &message.attachments,
        created_at: timestamp(time_of(message.created_at)).to_string(),
        updated_at: timestamp(time_of(message.updated_at)).to_string(),
    };
    serde_json::value::to_raw_value(&shown).ok()
}

/// Publishes `message` and marks it as published. If that fails, [`spawn_catching_up`] does it later.
pub async fn publish(accounts: &Accounts, node: &Node, message: &Message) {
    let names = node.access.names();
    publish_unless(accounts, node, &names, message, Conflict::Wait).await;
}

async fn publish_unless(
    accounts: &Accounts,
    node: &Node,
    names: &KnownNames,
    message: &Message,
    conflict: Conflict,
) -> bool {
    let Some(events) = events(message, names) else {
        tracing::error!(message = message.id, "a stored message cannot be published");
        return false;
    };
    node.record_entry("messages", None, &events);
    let options = PublishOptions { receipt: false };
    if let Err(error) = node.publish(events, options, conflict).await {
        tracing::debug!(message = message.id, %error, "left for later");
        return false;
    }
    // The storage logs an outage itself. The next search finds that the events are known.
    accounts.mark_published(&message.id).await.is_ok()
}

/// Starts the task that publishes stored messages that are still unpublished, because a process ended or the database was
/// unavailable. It runs until it is aborted.
pub fn spawn_catching_up(accounts: &Accounts, node: &Arc<Node>) -> JoinHandle<()> {
    let (accounts, node, start) = (accounts.clone(), node.clone(), Instant::now());
    tokio::spawn(async move {
        tokio::time::sleep(CLIENTS_COME_BACK).await;
        // Another process may be alive and publish the same message; its events' ids prevent a second delivery.
        while catch_up(&accounts, &node, start.elapsed()).await.is_none() {
            tokio::time::sleep(TRY_AGAIN).await;
        }
        loop {
            tokio::time::sleep(SEARCH_EVERY).await;
            catch_up(&accounts, &node, ABANDONED_AFTER).await;
        }
    })
}

/// Publishes the messages that have been unpublished for `age`. Returns `None` without the database, or without the broker.
async fn catch_up(accounts: &Accounts, node: &Node, age: Duration) -> Option<()> {
    if matches!(node.broker().health().await, BrokerHealth::Disconnected { .. }) {
        return None;
    }
    let names = node.access.names();
    loop {
        let messages = accounts.unpublished(age, SEARCHED_AT_ONCE).await.ok()?;
        let mut left = messages.len() < SEARCHED_AT_ONCE as usize;
        for message in &messages {
            // A message that another process is about to publish is skipped.
            left |= !publish_unless(accounts, node, &names, message, Conflict::Refuse).await;
        }
        // The next search would find a failed message again.
        if left {
            return Some(());
        }
    }
}

/// Returns one event for each channel. The same message always gives the same events and ids.
fn events(message: &Message, names: &KnownNames) -> Option<Vec<Event>> {
    let id = Uuid::try_parse(&message.id).ok()?;
    let text = Bytes::from(String::from(Box::<str>::from(to_json(message)?)));
    let data = RawJson::parse(&text).ok()?;
    let (private_to, readers_of) = guards(message, names)?;
    let event = |channel: Channel| Event {
        id: uuid_v5(id, &channel),
        named: true,
        sender: Some(Sender::new(&message.user_id)),
        private_to: private_to.clone(),
        readers_of: readers_of.clone(),
        ..Event::new(
            Audience::Channel(channel),
            Some(KIND),
            data.clone(),
            time_of(message.created_at),
        )
    };
    Some(channels(message).into_iter().map(event).collect())
}

/// The users that a message is private to, and the channel whose readers may also receive it; see the fields of [`Event`].
type Guards = (Option<Box<[UserId]>>, Option<Channel>);

/// Returns the guards of a message. One in a room or a personal channel is for the readers of that channel, on all its
/// channels; its author and admins may always read it.
fn guards(message: &Message, names: &KnownNames) -> Option<Guards> {
    let author = UserId::new(&message.user_id).ok()?;
    if let Some(recipient) = &message.recipient_id {
        let users = [author, UserId::new(recipient).ok()?];
        return Some((Some(users.into()), None));
    }
    let channel = message.channel_id.as_deref();
    Some(match channel.and_then(|name| names.place(name)) {
        Some(Place::Room(room)) => (Some([author].into()), Some(Channel::new(room).ok()?)),
        Some(Place::Personal(owner)) => (Some([author, UserId::new(owner).ok()?].into()), None),
        None => (None, None),
    })
}

/// Returns each channel once. A user whose id is not valid in a channel's name has no channel.
fn channels(message: &Message) -> Vec<Channel> {
    let of_user = |user: &str| Channel::new(&format!("{MESSAGES_CHANNEL}.user.{user}")).ok();
    let all = [
        Channel::new(MESSAGES_CHANNEL).ok(),
        of_user(&message.user_id),
        message.recipient_id.as_deref().and_then(of_user),
        message.channel_id.as_deref().and_then(feed),
    ];
    let mut channels: Vec<Channel> = Vec::with_capacity(all.len());
    for channel in all.into_iter().flatten() {
        if !channels.contains(&channel) {
            channels.push(channel);
        }
    }
    channels
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(recipient: Option<&str>, channel: Option<&str>) -> Message {
        Message {
            id: "018f0000-0000-7000-8000-000000000001".to_owned(),
            user_id: "ann".to_owned(),
            recipient_id: recipient.map(str::to_owned),
            channel_id: channel.map(str::to_owned),
            content: "hello".to_owned(),
            attachments: RawValue::from_string("[ 1.10 ]".to_owned()).expect("a good one"),
            created_at: 1_000,
            updated_at: 1_000,
        }
    }

    fn names() -> KnownNames {
        KnownNames {
            rooms: vec!["project:"],
            feed: Some(MESSAGES_CHANNEL),
        }
    }

    #[test]
    fn one_event_for_each_channel() {
        type Names<'a> = &'a [&'a str];
        let cases: &[(Option<&str>, Option<&str>, Names<'_>)] = &[
            (None, None, &["messages", "messages.user.ann"]),
            (
                Some("bob"),
                None,
                &["messages", "messages.user.ann", "messages.user.bob"],
            ),
            (Some("ann"), None, &["messages", "messages.user.ann"]),
            (Some("b*"), None, &["messages", "messages.user.ann"]),
            (
                Some("bob"),
                Some("general"),
                &[
                    "messages",
                    "messages.user.ann",
                    "messages.user.bob",
                    "messages.channel.general",
                ],
            ),
        ];
        for (recipient, channel, expected) in cases {
            let message = message(*recipient, *channel);
            let events = events(&message, &names()).expect("a good one");
            let names: Vec<_> = events
                .iter()
                .map(|event| match &event.audience {
                    Audience::Channel(channel) => channel.to_string(),
                    other => panic!("{other:?}"),
                })
                .collect();
            assert_eq!(names, *expected);
            assert!(
                events
                    .iter()
                    .all(|event| event.named && event.private_to.is_some() == recipient.is_some())
            );
            let ids = |events: &[Event]| events.iter().map(|event| event.id).collect::<Vec<_>>();
            assert_eq!(
                ids(&events),
                ids(&super::events(&message, &self::names()).expect("a good one"))
            );
        }
    }

    #[test]
    fn messages_are_private_to_users_or_to_the_readers_of_a_room() {
        type Guards<'a> = (Option<&'a [&'a str]>, Option<&'a str>);
        let cases: &[(Option<&str>, Option<&str>, Guards<'_>)] = &[
            (None, None, (None, None)),
            (None, Some("general"), (None, None)),
            (None, Some("project:9"), (Some(&["ann"]), Some("project:9"))),
            (None, Some("user:bob"), (Some(&["ann", "bob"]), None)),
            (Some("bob"), Some("project:9"), (Some(&["ann", "bob"]), None)),
        ];
        for (recipient, channel, (users, room)) in cases {
            for event in events(&message(*recipient, *channel), &names()).expect("a good one") {
                let named = event
                    .private_to
                    .as_ref()
                    .map(|users| users.iter().map(|user| &**user).collect::<Vec<_>>());
                assert_eq!(named.as_deref(), *users, "{channel:?}");
                assert_eq!(event.readers_of.as_deref(), *room, "{channel:?}");
            }
        }
    }

    #[test]
    fn shown_as_it_was_sent() {
        let shown = to_json(&message(None, Some("general"))).expect("a good one");
        assert_eq!(
            shown.get(),
            r#"{"id":"018f0000-0000-7000-8000-000000000001","userId":"ann","recipientId":null,"channelId":"general","content":"hello","attachments":[ 1.10 ],"createdAt":"1970-01-01T00:00:01.000Z","updatedAt":"1970-01-01T00:00:01.000Z"}"#
        );
    }
}
