//! Plays one scene against a dialect.

use std::{
    collections::VecDeque,
    path::Path,
    time::{Duration, SystemTime},
};

use bytes::Bytes;
use fanfare_core::{
    Audience, Channel, Conversation, Dialect, Ending, Event, Handshake, Identity, Message, Offer, RawJson,
    Refusal, Step as Wanted, Steps, UserId,
};

use crate::script::Scene;

/// What the other side saw, in the transcript's own words.
type Seen = VecDeque<String>;

/// Plays `scene`; panics with the place where it goes another way.
pub(crate) fn play(dialect: &'static dyn Dialect, scene: &Scene<'_>, file: &Path) {
    let mut conversation: Option<Box<dyn Conversation>> = None;
    let mut seen = Seen::new();
    for step in &scene.steps {
        let place = format!("{}:{} ({})", file.display(), step.line, scene.title);
        let mut steps = Steps::new();
        match step.word {
            "open" => {
                let identity = identity(step.rest);
                let mut opened = dialect.converse(identity.as_ref());
                opened.opened(now(), &mut steps);
                conversation = Some(opened);
            }
            ">" | ">>" => {
                let bytes = unhex(step.rest);
                let message = if step.word == ">" {
                    Message::Text(step.rest)
                } else {
                    Message::Binary(&bytes)
                };
                let talking = conversation
                    .as_mut()
                    .unwrap_or_else(|| panic!("{place}: nothing is open"));
                talking.received(message, now(), &mut steps);
            }
            "publish" => {
                let text = dialect.render(&event(step.rest, &place));
                seen.extend(text.map(|text| format!("< {}", String::from_utf8_lossy(&text))));
            }
            "offer" => seen.push_back(offer(dialect, step.rest)),
            "refuse" => seen.push_back(refused(dialect, refusal(step.rest, &place))),
            "end" => {
                let (code, reason) = dialect.end(ending(step.rest, &place));
                seen.push_back(format!("close {code} {reason}"));
            }
            "nothing" => assert!(seen.is_empty(), "{place}: unexpected {seen:?}"),
            expected => {
                let expected = format!("{expected} {}", step.rest);
                let found = seen.pop_front().unwrap_or_default();
                assert_eq!(found.trim_end(), expected.trim_end(), "{place}");
            }
        }
        seen.extend(steps.into_iter().map(words));
    }
    assert!(
        seen.is_empty(),
        "{} ({}): more was seen: {seen:?}",
        file.display(),
        scene.title
    );
}

fn words(step: Wanted) -> String {
    match step {
        Wanted::SendText(text) => format!("< {}", String::from_utf8_lossy(&text)),
        Wanted::SendBinary(bytes) => format!("<< {}", hex(&bytes)),
        Wanted::Close(code, reason) => format!("close {code} {reason}"),
    }
}

fn offer(dialect: &dyn Dialect, query: &str) -> String {
    let none = |_: &str| None;
    match dialect.offer(&Handshake::new(query, &none)) {
        Ok(Offer::Anonymous) => "anonymous".into(),
        Ok(Offer::Token(token)) => format!("token {token}"),
        Err(refusal) => refused(dialect, refusal),
    }
}

fn refused(dialect: &dyn Dialect, refusal: Refusal) -> String {
    let rejection = dialect.refuse(refusal);
    format!("refused {} {}", rejection.status, rejection.body)
}

fn refusal(label: &str, place: &str) -> Refusal {
    let all = [
        Refusal::MissingCredential,
        Refusal::BadCredential,
        Refusal::AtCapacity,
        Refusal::AddressAtCapacity,
        Refusal::UserAtCapacity,
        Refusal::RateLimited,
        Refusal::ShuttingDown,
    ];
    all.into_iter()
        .find(|refusal| refusal.label() == label)
        .unwrap_or_else(|| panic!("{place}: no such refusal"))
}

fn ending(label: &str, place: &str) -> Ending {
    let all = [
        Ending::TokenExpired,
        Ending::SlowConsumer,
        Ending::PingTimeout,
        Ending::ShuttingDown,
        Ending::InternalError,
    ];
    all.into_iter()
        .find(|ending| ending.label() == label)
        .unwrap_or_else(|| panic!("{place}: no such ending"))
}

fn event(line: &str, place: &str) -> Event {
    let mut parts = line.splitn(3, ' ');
    let [to, kind, data] =
        [parts.next(), parts.next(), parts.next()].map(|part| part.unwrap_or_else(|| panic!("{place}")));
    let audience = match to.split_once(':') {
        Some(("user", id)) => Audience::User(UserId::new(id).expect("a user id")),
        Some(("channel", name)) => Audience::Channel(Channel::new(name).expect("a channel")),
        _ => Audience::Everyone,
    };
    let data = RawJson::parse(&Bytes::copy_from_slice(data.as_bytes()))
        .unwrap_or_else(|error| panic!("{place}: {error}"));
    Event::new(audience, Some(kind).filter(|kind| *kind != "-"), data, now())
}

fn identity(user: &str) -> Option<Identity> {
    let user = UserId::new(user).ok()?;
    Some(Identity::new(user, now() + Duration::from_secs(3600)))
}

fn now() -> SystemTime {
    humantime::parse_rfc3339("2025-01-21T10:30:00.123Z").expect("a time")
}

fn hex(bytes: &[u8]) -> String {
    let digit = |value: u8| char::from_digit(u32::from(value), 16).unwrap_or('?');
    bytes
        .iter()
        .flat_map(|byte| [digit(byte >> 4), digit(byte & 15)])
        .collect()
}

fn unhex(text: &str) -> Vec<u8> {
    let pair = |at| {
        text.get(at..at + 2)
            .and_then(|pair| u8::from_str_radix(pair, 16).ok())
    };
    (0..text.len()).step_by(2).map_while(pair).collect()
}
