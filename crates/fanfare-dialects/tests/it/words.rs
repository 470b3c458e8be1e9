//! The written form of options, steps, commands and answers in transcripts.

use std::time::{Duration, SystemTime};

use bytes::Bytes;
use fanfare_core::{
    Audience, Channel, Command, Denial, DialectFacts, DialectKind, Draft, Event, HttpReply, Identity,
    ListenMessage, Member, Options, Outcome, Pattern, RawJson, Rejection, Rendering, Right, Sender, Step,
    Subscription, UserId,
    history::{Resumption, Since, Unrecovered},
};
use serde_json::Value;
use uuid::Uuid;

/// The id of every connection.
pub(crate) const CONNECTION: Uuid = Uuid::from_u128(0x0190_0000_0000_7000_8000_0000_00c0_ffee);
/// All other ids.
pub(crate) const ID: Uuid = Uuid::from_u128(0x550e_8400_e29b_41d4_a716_4466_5544_0000);

pub(crate) fn now() -> SystemTime {
    humantime::parse_rfc3339("2025-01-21T10:30:00.123Z").expect("a time")
}

pub(crate) fn facts() -> DialectFacts {
    DialectFacts {
        active: 5,
        opened: 156,
        users: 3,
        max_connections: 1000,
        sent: 1024,
        answers: 24,
        failed: 2,
        received: 77,
        errors: 1,
    }
}

/// Returns the options of `kind`: those of the JSON object `text`, and the defaults of all others.
pub(crate) fn options(kind: &DialectKind, text: &str) -> Options {
    let given = serde_json::from_str(text).expect("options are JSON");
    let read = kind.options.read(given);
    read.unwrap_or_else(|error| panic!("options: {error}"))
}

/// Returns a message to the client as transcripts write it.
pub(crate) fn rendering(rendering: &Rendering) -> String {
    match rendering {
        Rendering::Text(text) => format!("< {}", String::from_utf8_lossy(text)),
        Rendering::Binary(bytes) => format!("<< {}", hex(bytes)),
        Rendering::Forms(forms) => format!("< {} | {}", escaped(&forms[0]), escaped(&forms[1])),
    }
}

/// Returns a text with its line ends escaped.
pub(crate) fn escaped(bytes: &Bytes) -> String {
    let text = String::from_utf8_lossy(bytes);
    text.replace('\n', "\\n").replace('\r', "\\r")
}

/// Returns a step as transcripts write it.
pub(crate) fn step(step: &Step) -> String {
    match step {
        Step::Send(rendering) => self::rendering(rendering),
        Step::Ask(command) => format!("ask {}", self::command(command)),
        Step::Timer(Some(time)) => format!("timer {}", time.as_secs_f64()),
        Step::Timer(None) => "timer off".into(),
        Step::Pinged => "pinged".into(),
        Step::Pause => "pause".into(),
        Step::Close(code, reason) => format!("close {code} {reason}"),
        Step::End(ending) => format!("ends {}", ending.label()),
    }
}

fn command(command: &Command) -> String {
    let names = |all: &[Subscription]| all.iter().map(subscription).collect::<Vec<_>>().join(" ");
    match command {
        Command::Authenticate(token) => format!("authenticate {}", token.0),
        Command::Subscribe { to, whole, resume } => {
            let how = if *whole { "subscribe-whole" } else { "subscribe" };
            let resume = resume.map(|resume| {
                let of = if resume.of_all { "all " } else { "" };
                format!(" resuming {of}{}", since(resume.since))
            });
            format!("{how} {}{}", names(to), resume.unwrap_or_default())
        }
        Command::Resume(from) => format!("resume {}", since(*from)),
        Command::SubscribeBy { channel, credential } => format!("subscribe {channel} by {}", credential.0),
        Command::Unsubscribe(from) => format!("unsubscribe {}", names(from)),
        Command::Join {
            room,
            wants_members,
            resume,
        } => {
            let resume = resume.map(|from| format!(" resuming {}", since(from)));
            let members = if *wants_members { " members" } else { "" };
            format!("join {room}{members}{}", resume.unwrap_or_default())
        }
        Command::Leave(room) => format!("leave {room}"),
        Command::Publish(draft) => format!("publish {}", self::draft(draft)),
        Command::Facts => "facts".into(),
    }
}

pub(crate) fn since(since: Since) -> String {
    match since {
        Since::Now => "now".into(),
        Since::Cursor(cursor) => cursor.to_string(),
        Since::Unknown => "unknown".into(),
        Since::Newest(count) => format!("newest {count}"),
        Since::Within(age) => format!("within {}s", age.as_secs()),
    }
}

/// Parses `CURSOR REPLAYED|REASON`, the answer to a resume.
pub(crate) fn resumption(text: &str) -> Resumption {
    let (cursor, replayed) = text.split_once(' ').expect("a cursor and a result");
    let why = Unrecovered::ALL.iter().find(|why| why.label() == replayed);
    Resumption {
        cursor: cursor.parse().ok(),
        replayed: why.map_or_else(|| Ok(replayed.parse().expect("a count")), |why| Err(*why)),
    }
}

fn subscription(wanted: &Subscription) -> String {
    match wanted {
        Subscription::Personal(user) => format!("personal:{user}"),
        Subscription::Channel(channel) => channel.to_string(),
        Subscription::Pattern(pattern) => pattern.to_string(),
    }
}

fn draft(draft: &Draft) -> String {
    let to = match &draft.to {
        Audience::Everyone => "everyone".into(),
        Audience::User(user) => format!("user:{user}"),
        Audience::Channel(channel) => format!("channel:{channel}"),
    };
    let mut text = format!(
        "{to} {} {}",
        draft.kind.as_deref().unwrap_or("-"),
        draft.data.as_str()
    );
    if let Some(metadata) = &draft.metadata {
        text.push_str(" metadata ");
        text.push_str(metadata.as_str());
    }
    match draft.right {
        Right::Rules => {}
        Right::Member => text.push_str(" as-member"),
    }
    if !draft.echo {
        text.push_str(" without-echo");
    }
    text
}

/// Returns the answer that `text` describes; an `authenticated` one includes the identity.
pub(crate) fn answer(text: &str) -> (Result<Outcome, Denial>, Option<Identity>) {
    let (word, rest) = text.split_once(' ').unwrap_or((text, ""));
    let outcome = match (word, rest) {
        ("authenticated", who) => return (Ok(Outcome::Authenticated), identity(who)),
        ("subscribed", each) => Outcome::Subscribed(
            each.split_whitespace()
                .map(|one| if one == "ok" { Ok(()) } else { Err(denial(one)) })
                .collect(),
        ),
        ("resumed", _) => Outcome::Resumed,
        ("unsubscribed", _) => Outcome::Unsubscribed,
        ("joined", "") => Outcome::Joined { members: None },
        ("joined", members) => Outcome::Joined {
            members: Some(members.split("; ").filter_map(member).collect()),
        },
        ("left", _) => Outcome::Left,
        ("published", _) => Outcome::Published { id: ID },
        ("facts", _) => Outcome::Facts(facts()),
        ("denied", why) => return (Err(denial(why)), None),
        _ => panic!("no such answer: {text}"),
    };
    (Ok(outcome), None)
}

/// Returns the member of a room that `text` describes as an identity.
pub(crate) fn member(text: &str) -> Option<Member> {
    identity(text).map(|identity| Member::new(&identity, "rooms"))
}

fn denial(label: &str) -> Denial {
    let found = Denial::ALL.iter().find(|denial| denial.label() == label);
    *found.unwrap_or_else(|| panic!("no such denial: {label}"))
}

/// Parses `USER [CLAIMS]`. Returns `None` for an anonymous connection.
pub(crate) fn identity(text: &str) -> Option<Identity> {
    let (user, claims) = text.split_once(' ').unwrap_or((text, "{}"));
    let user = UserId::new(user).ok().filter(|user| &**user != "-")?;
    let claims: Value = serde_json::from_str(claims).expect("claims are JSON");
    let list = |name: &str| {
        claims[name]
            .as_array()
            .into_iter()
            .flatten()
            .filter_map(Value::as_str)
            .collect::<Vec<_>>()
    };
    Some(Identity {
        username: claims["username"].as_str().map(Into::into),
        numeric: claims["numeric"].as_bool().unwrap_or(false),
        roles: list("roles").into_iter().map(Into::into).collect(),
        rooms: claims.get("rooms").map(|_| {
            list("rooms")
                .into_iter()
                .filter_map(|room| Pattern::new(room).ok())
                .collect()
        }),
        ..Identity::new(user, now() + Duration::from_secs(3600))
    })
}

/// Parses `user:U|channel:C|everyone TYPE|- JSON [metadata JSON] [sender ID [USERNAME]]`.
pub(crate) fn event(line: &str) -> Event {
    let (line, sender) = line
        .split_once(" sender ")
        .map_or((line, None), |(line, sender)| (line, Some(sender)));
    let (line, metadata) = line
        .split_once(" metadata ")
        .map_or((line, None), |(line, json)| (line, Some(json)));
    let mut parts = line.splitn(3, ' ');
    let mut part = || parts.next().expect("audience, type and data");
    let (to, kind, data) = (part(), part(), part());
    let audience = match to.split_once(':') {
        Some(("user", id)) => Audience::User(UserId::new(id).expect("a user id")),
        Some(("channel", name)) => Audience::Channel(Channel::new(name).expect("a channel")),
        _ => Audience::Everyone,
    };
    let json = |text: &str| RawJson::parse(&Bytes::copy_from_slice(text.as_bytes())).expect("JSON");
    let sender = sender.map(|text| {
        let (id, username) = text
            .split_once(' ')
            .map_or((text, None), |(id, name)| (id, Some(name)));
        Box::new(Sender {
            username: username.map(Into::into),
            connection: username.map(|_| CONNECTION),
            ..*Sender::new(id)
        })
    });
    Event {
        id: ID,
        metadata: metadata.map(json),
        sender,
        ..Event::new(
            audience,
            Some(kind).filter(|kind| *kind != "-"),
            json(data),
            now(),
        )
    }
}

pub(crate) fn rejection(rejection: &Rejection) -> String {
    match rejection {
        Rejection::Http(HttpReply { status, body }) => format!("rejected {status} {body}"),
        Rejection::Close { code, reason } => format!("rejected close {code} {reason}"),
    }
}

pub(crate) fn classified(message: ListenMessage) -> String {
    match message {
        ListenMessage::Event => "event".into(),
        ListenMessage::Confirmed => "confirmed".into(),
        ListenMessage::Refused(words) => format!("refused {words}"),
        ListenMessage::Other => "other".into(),
    }
}

fn hex(bytes: &[u8]) -> String {
    let digit = |value: u8| char::from_digit(u32::from(value), 16).unwrap_or('?');
    bytes
        .iter()
        .flat_map(|byte| [digit(byte >> 4), digit(byte & 15)])
        .collect()
}

pub(crate) fn unhex(text: &str) -> Vec<u8> {
    let pair = |at| {
        text.get(at..at + 2)
            .and_then(|pair| u8::from_str_radix(pair, 16).ok())
    };
    (0..text.len()).step_by(2).map_while(pair).collect()
}
