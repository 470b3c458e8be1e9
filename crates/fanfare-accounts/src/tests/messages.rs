//! Messages: the rights to write and to read them.

use std::time::Duration;

use serde_json::value::RawValue;

use super::{Place, World};
use crate::storage::Message;
use crate::{AccountError, NewMessage, ReadAccess};

fn message<'a>(
    author: &'a str,
    recipient: Option<&'a str>,
    channel: Option<&'a str>,
    content: &'a str,
) -> NewMessage<'a> {
    NewMessage {
        author,
        recipient,
        channel,
        content,
        attachments: None,
    }
}

pub(super) async fn writing(place: Place) {
    let world = World::new(&place);
    let attachments = RawValue::from_string("[{\"url\" : \"\\u0000\"}, 1e400]".to_owned()).unwrap();
    let new = NewMessage {
        attachments: Some(&attachments),
        ..message("alice", Some("bob"), Some("general"), "Hi 🎉")
    };
    let stored = world.accounts.create_message(new).await.unwrap();
    assert_eq!(
        (stored.attachments.get(), stored.content.as_str()),
        (attachments.get(), "Hi 🎉")
    );
    assert!(!format!("{stored:?}").contains("Hi"));

    let object = RawValue::from_string("{}".to_owned()).unwrap();
    let long = "x".repeat(65 * 1024);
    let long_list = RawValue::from_string(format!("[\"{}\"]", "x".repeat(256 * 1024))).unwrap();
    for (new, field) in [
        (message("alice", None, None, ""), "content"),
        (message("alice", None, None, "a\0b"), "content"),
        (message("alice", None, None, &long), "content"),
        (message("alice", Some(""), None, "x"), "recipientId"),
        (message("alice", Some("a\nb"), None, "x"), "recipientId"),
        (message("alice", None, Some("a.*"), "x"), "channelId"),
        (message("alice", None, Some(&long[..201]), "x"), "channelId"),
        (
            NewMessage {
                attachments: Some(&object),
                ..message("alice", None, None, "x")
            },
            "attachments",
        ),
        (
            NewMessage {
                attachments: Some(&long_list),
                ..message("alice", None, None, "x")
            },
            "attachments",
        ),
    ] {
        let refused = world.accounts.create_message(new).await.unwrap_err();
        assert!(
            matches!(refused, AccountError::Bad { field: found, .. } if found == field),
            "{refused}"
        );
    }

    // A message that was stored and not published is found after a while, until it is marked.
    let age = Duration::from_secs(30);
    assert!(world.accounts.unpublished(age, 10).await.unwrap().is_empty());
    world.pass(31);
    let found = world.accounts.unpublished(age, 10).await.unwrap();
    assert_eq!((found.len(), &found[0].id), (1, &stored.id));
    world.accounts.mark_published(&stored.id).await.unwrap();
    assert!(world.accounts.unpublished(age, 10).await.unwrap().is_empty());
}

pub(super) async fn reading(place: Place) {
    let world = World::new(&place);
    for new in [
        message("alice", None, None, "everybody"),
        message("alice", Some("bob"), None, "for bob"),
        message("alice", Some("bob"), Some("open"), "for bob in open"),
        message("bob", None, Some("open"), "in open"),
        message("bob", None, Some("closed"), "in closed"),
    ] {
        world.accounts.create_message(new).await.unwrap();
    }
    let read = async |reader: &str, is_admin: bool| -> Vec<String> {
        let may_read = |channel: Option<&str>| channel != Some("closed");
        let page = world
            .accounts
            .messages(reader, is_admin, may_read, 50, None)
            .await
            .unwrap();
        assert!(page.next_cursor.is_none());
        page.messages.into_iter().map(|message| message.content).collect()
    };
    assert_eq!(
        read("alice", false).await,
        ["in open", "for bob in open", "for bob", "everybody"]
    );
    assert_eq!(
        read("bob", false).await,
        ["in closed", "in open", "for bob in open", "for bob", "everybody"]
    );
    assert_eq!(read("carol", false).await, ["in open", "everybody"]);
    assert_eq!(read("carol", true).await.len(), 5);
}

/// A `ReadAccess` that cannot decide after a few questions.
struct Tired {
    left: usize,
    wanted: Vec<usize>,
}

impl ReadAccess for &mut Tired {
    async fn may_read(&mut self, ahead: &[Message], wanted: usize) -> Option<bool> {
        self.left = self.left.checked_sub(1)?;
        self.wanted.push(wanted);
        Some(ahead[0].channel_id.as_deref() == Some("shown"))
    }
}

pub(super) async fn an_undecided_message_is_not_the_end_of_the_list(place: Place) {
    let world = World::new(&place);
    for (number, channel) in (0..6).zip(["shown", "hidden"].into_iter().cycle()) {
        let content = number.to_string();
        let new = message("bob", None, Some(channel), &content);
        world.accounts.create_message(new).await.unwrap();
    }
    let page = async |left: usize, cursor: Option<&str>| {
        let mut judge = Tired {
            left,
            wanted: Vec::new(),
        };
        let page = world
            .accounts
            .messages("alice", false, &mut judge, 3, cursor)
            .await;
        page.map(|page| {
            let contents: Vec<_> = page.messages.into_iter().map(|message| message.content).collect();
            (contents, page.next_cursor, judge.wanted)
        })
    };
    assert_eq!(page(0, None).await.unwrap_err(), AccountError::Undecided);
    // A page without readable messages still has a cursor.
    let (none, cursor, _) = page(1, None).await.unwrap();
    assert!(none.is_empty() && cursor.is_some());
    assert_eq!(
        page(0, cursor.as_deref()).await.unwrap_err(),
        AccountError::Undecided
    );
    let (found, cursor, wanted) = page(3, cursor.as_deref()).await.unwrap();
    assert_eq!((found, wanted), (vec!["4".into(), "2".into()], vec![3, 2, 2]));
    let (found, cursor, _) = page(9, cursor.as_deref()).await.unwrap();
    assert_eq!((found, cursor), (vec!["0".to_owned()], None));
}

pub(super) async fn pages(place: Place) {
    let world = World::new(&place);
    for number in 0..230 {
        let channel = if number % 3 == 0 { "shown" } else { "hidden" };
        world
            .accounts
            .create_message(message("bob", None, Some(channel), &number.to_string()))
            .await
            .unwrap();
    }
    let page = async |limit: usize, cursor: Option<&str>| {
        let shown = |channel: Option<&str>| channel == Some("shown");
        world
            .accounts
            .messages("alice", false, shown, limit, cursor)
            .await
    };
    let (mut found, mut cursor, mut pages) = (Vec::new(), None, 0);
    loop {
        let part = page(10, cursor.as_deref()).await.unwrap();
        assert!(part.messages.len() <= 10);
        found.extend(part.messages.into_iter().map(|message| message.content));
        (cursor, pages) = (part.next_cursor, pages + 1);
        if cursor.is_none() {
            break;
        }
    }
    let expected: Vec<String> = (0..230)
        .rev()
        .filter(|number| number % 3 == 0)
        .map(|number| number.to_string())
        .collect();
    assert_eq!((found, pages), (expected, 8));
    assert_eq!(page(0, None).await.unwrap().messages.len(), 1);
    assert_eq!(page(1000, None).await.unwrap().messages.len(), 77);
    for cursor in ["", "x", "00000000-0000-0000-0000-000000000000", "AAAA"] {
        let refused = page(10, Some(cursor)).await.unwrap_err();
        assert!(
            matches!(refused, AccountError::Bad { field: "cursor", .. }),
            "{cursor}"
        );
    }
}
