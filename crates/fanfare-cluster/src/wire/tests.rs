#![allow(clippy::unwrap_used)]

use std::time::Duration;

use fanfare_core::Channel;
use uuid::Uuid;

use super::*;

fn parse_all(channel: &[u8], message: &Bytes) -> Result<Vec<Event>, Rejected> {
    let mut events = Vec::new();
    let parsed = parse_message(channel, message, SystemTime::UNIX_EPOCH, &mut events);
    assert!(parsed.is_ok() || events.is_empty());
    parsed.map(|()| events)
}

fn parse(channel: &str, message: &str) -> Result<Event, Rejected> {
    let mut events = parse_all(channel.as_bytes(), &Bytes::copy_from_slice(message.as_bytes()))?;
    assert_eq!(events.len(), 1);
    Ok(events.remove(0))
}

fn user(id: &str) -> Audience {
    Audience::User(UserId::new(id).unwrap())
}

#[test]
fn notifications() {
    let long = "a".repeat(255);
    let cases = [
        ("user_noti:user123", user("user123")),
        ("user_noti:a:b c:", user("a:b c:")),
        ("user_noti:مستخدم", user("مستخدم")),
        (&format!("user_noti:{long}"), user(&long)),
        ("fanfare:everyone", Audience::Everyone),
        ("user:a:b", user("a:b")),
        ("notifications.user.a.b", user("a.b")),
    ];
    for (channel, audience) in cases {
        let event = parse(
            channel,
            "\n{\"payload\" : {\"b\":1, \"a\":[1.10,\"\\u00e9\"]} ,\"x\":[0],\"type\":\"al\\\"ert\"} ",
        )
        .unwrap();
        assert_eq!(event.audience, audience);
        assert_eq!(event.kind.as_deref(), Some("al\"ert"));
        assert_eq!(event.data.as_str(), r#"{"b":1, "a":[1.10,"\u00e9"]}"#);
        assert_eq!((event.sender, event.timestamp), (None, SystemTime::UNIX_EPOCH));
        assert_eq!(event.id.get_version_num(), 7);
    }
}

#[test]
fn payloads_of_every_kind_are_kept_without_a_copy() {
    for payload in [
        "null",
        "0",
        "-1e400",
        "12345678901234567890123",
        r#""\ud83d""#,
        "[]",
        "{}",
        "true",
    ] {
        let message = Bytes::from(format!(r#"{{"type":"","payload":{payload}}}"#));
        let events = parse_all(b"user_noti:1", &message).unwrap();
        assert_eq!(events[0].data.as_str(), payload);
        assert!(message.as_ptr_range().contains(&events[0].data.bytes().as_ptr()));
    }
}

#[test]
fn messages_of_another_form_are_refused() {
    let good = r#"{"type":"t","payload":1}"#;
    let cases = [
        ("user_noti:", good, Rejected::BadUser),
        ("user_noti:a\u{7}", good, Rejected::BadUser),
        ("a..b", good, Rejected::BadChannel),
        ("", good, Rejected::BadChannel),
        ("fanfare:channel:a..b", good, Rejected::BadChannel),
        ("fanfare:channel:user:1", good, Rejected::Personal),
        ("fanfare:channel:notifications.user.1", good, Rejected::Personal),
        ("fanfare:channel:user_noti:1", good, Rejected::Personal),
        ("fanfare:node:1", good, Rejected::Reserved),
        ("fanfare:else", good, Rejected::Reserved),
        ("user_noti:1", "", Rejected::NotJson),
        ("user_noti:1", "hello", Rejected::NotJson),
        ("user_noti:1", r#"{"type":"t","payload":1"#, Rejected::NotJson),
        ("user_noti:1", r#"{"type":"t","payload":01}"#, Rejected::NotJson),
        ("user_noti:1", "[]", Rejected::NotAnObject),
        ("user_noti:1", "\"text\"", Rejected::NotAnObject),
        ("user_noti:1", "{}", Rejected::NoType),
        ("user_noti:1", r#"{"payload":1}"#, Rejected::NoType),
        ("user_noti:1", r#"{"type":null,"payload":1}"#, Rejected::NoType),
        ("user_noti:1", r#"{"type":5,"payload":1}"#, Rejected::NoType),
        ("user_noti:1", r#"{"Type":"t","payload":1}"#, Rejected::NoType),
        ("user_noti:1", r#"{"type":"t"}"#, Rejected::NoPayload),
        ("fanfare:everyone", r#"{"type":"t"}"#, Rejected::NoPayload),
        ("a.channel", "nope", Rejected::NotJson),
        ("fanfare:events", "{}", Rejected::BadPublication),
    ];
    for (channel, message, expected) in cases {
        assert_eq!(
            parse(channel, message).unwrap_err(),
            expected,
            "{channel} {message}"
        );
    }
    let not_utf8 = Bytes::from_static(b"{\"type\":\"t\",\"payload\":1,\"x\":\"\xff\"}");
    let refused = parse_all(b"user_noti:1", &not_utf8);
    assert_eq!(refused.unwrap_err(), Rejected::NotJson);
    let refused = parse_all(b"user_noti:\xff", &Bytes::from_static(good.as_bytes()));
    assert_eq!(refused.unwrap_err(), Rejected::BadChannel);
}

#[test]
fn the_last_of_repeated_fields_counts() {
    let event = parse(
        "user_noti:1",
        r#"{"type":"a","payload":1,"type":"b","payload":2}"#,
    )
    .unwrap();
    assert_eq!((event.kind.as_deref(), event.data.as_str()), (Some("b"), "2"));
}

#[test]
fn the_depth_of_every_field_is_limited() {
    let nested = |n: usize| format!("{}{}", "[".repeat(n), "]".repeat(n));
    for field in ["payload", "extra"] {
        let message = |n| format!(r#"{{"type":"t","payload":1,"{field}":{}}}"#, nested(n));
        assert!(parse("user_noti:1", &message(MAX_DEPTH - 1)).is_ok());
        assert_eq!(
            parse("user_noti:1", &message(MAX_DEPTH)).unwrap_err(),
            Rejected::NotJson
        );
    }
    let in_text = format!(r#"{{"type":"t","payload":"{}"}}"#, "[".repeat(1000));
    assert!(parse("user_noti:1", &in_text).is_ok());
}

#[test]
fn channels() {
    let whole = |message| (None, message, None, None);
    let cases = [
        (r#"{"type":"t","payload":1}"#, (Some("t"), "1", None, None)),
        (
            r#"{"type":"t","data":[1.10],"metadata":{"k" : 1},"sender":"alice","room":"x"}"#,
            (Some("t"), "[1.10]", Some(r#"{"k" : 1}"#), Some("alice")),
        ),
        (
            r#"{"type":"t","payload":1,"data":2,"metadata":[],"sender":5}"#,
            (Some("t"), "1", None, None),
        ),
        (
            r#"{"type":"t","data":null,"metadata":null,"sender":""}"#,
            (Some("t"), "null", None, None),
        ),
        (r#"{"type":5,"payload":1}"#, whole(r#"{"type":5,"payload":1}"#)),
        (r#"{"payload":1}"#, whole(r#"{"payload":1}"#)),
        (
            r#"{"type":"t","sender":"a"}"#,
            whole(r#"{"type":"t","sender":"a"}"#),
        ),
        (r#"{"\ud83d":1}"#, whole(r#"{"\ud83d":1}"#)),
        (" [1, 2] ", whole("[1, 2]")),
        ("\"text\"", whole("\"text\"")),
    ];
    for (message, (kind, data, metadata, sender)) in cases {
        for channel in ["a.b", "fanfare:channel:a.b"] {
            let event = parse(channel, message).unwrap();
            assert_eq!(event.audience, Audience::Channel(Channel::new("a.b").unwrap()));
            assert_eq!((event.kind.as_deref(), event.data.as_str()), (kind, data));
            assert_eq!(
                event.metadata.as_ref().map(RawJson::as_str),
                metadata,
                "{message}"
            );
            assert_eq!(event.sender, sender.map(Sender::new), "{message}");
            assert_eq!(event.private_to, None);
        }
    }
    // Other fields of a user's notification are ignored.
    let event = parse(
        "user_noti:1",
        r#"{"type":"t","payload":1,"sender":"a","metadata":{}}"#,
    )
    .unwrap();
    assert_eq!((event.sender, event.metadata), (None, None));
}

#[test]
fn bodies_of_the_service_api() {
    let body = r#"[{"to":{"user":"1"},"data":1},{"to":"everyone","type":"t","data":2}]"#;
    let events = parse_all(b"fanfare:events", &Bytes::from(body)).unwrap();
    assert_eq!(events.len(), 2);
    assert_eq!(events[0].audience, user("1"));
}

fn raw(text: &str) -> RawJson {
    RawJson::parse(&Bytes::copy_from_slice(text.as_bytes())).unwrap()
}

/// Events for each audience, with the fewest and with the most fields.
fn events() -> Vec<Event> {
    let audiences = [
        user("a:b"),
        Audience::Everyone,
        Audience::Channel(Channel::new("a:b.c").unwrap()),
    ];
    let now = SystemTime::UNIX_EPOCH + Duration::from_millis(1_700_000_000_123);
    let data = || raw(r#"{"z":[1.10, "\u00e9"]}"#);
    let deepest = format!("{}{}", "[".repeat(MAX_DEPTH), "]".repeat(MAX_DEPTH));
    let deep_object = format!(r#"{{"k":{}}}"#, &deepest[1..deepest.len() - 1]);
    let full = |audience| Event {
        metadata: Some(raw(r#"{"k" : 1.10,"k":"\u00e9"}"#)),
        sender: Some(Box::new(Sender {
            username: Some("n\"\u{e9}".into()),
            connection: Some(Uuid::from_u128(7)),
            ..*Sender::new("s\u{e9}")
        })),
        private_to: Some([UserId::new("a:b").unwrap(), UserId::new("\"").unwrap()].into()),
        readers_of: Some(Channel::new("project:\"").unwrap()),
        except: Some(Uuid::from_u128(9)),
        traceparent: Some("00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01".into()),
        ..Event::new(audience, None, data(), now)
    };
    let mut events = Vec::new();
    for audience in audiences {
        events.push(Event::new(audience.clone(), Some("a\"b"), data(), now));
        events.push(full(audience.clone()));
        events.push(Event {
            metadata: Some(raw(&deep_object)),
            sender: Some(Sender::new("s")),
            private_to: Some([].into()),
            ..Event::new(audience, Some(""), raw(&deepest), now)
        });
    }
    events
}

#[test]
fn a_written_event_is_read_as_the_same_event() {
    for (event, reply) in events().into_iter().zip([true, false].into_iter().cycle()) {
        let envelope = Envelope {
            node: "n1".into(),
            number: Some(7),
            reply,
            presence: None,
            recorded: !reply,
        };
        let message = encode(&event, &envelope);
        let audience = audience(&redis_channel(&event.audience)).unwrap();
        let parsed = parse_event(audience, &message, SystemTime::UNIX_EPOCH);
        let Ok((read, Some(read_envelope))) = parsed else {
            panic!("{parsed:?}")
        };
        assert_eq!(read_envelope, envelope);
        assert_eq!(read.id, event.id);
        assert_eq!(read.kind, event.kind);
        assert_eq!(read.audience, event.audience);
        assert_eq!(read.traceparent, event.traceparent);
        assert_eq!(read.data, event.data);
        assert_eq!(read.metadata, event.metadata);
        assert_eq!(read.sender, event.sender);
        assert_eq!(read.timestamp, event.timestamp);
        assert_eq!(read.private_to, event.private_to);
        assert_eq!((read.readers_of, read.except), (event.readers_of, event.except));

        // Another program reads the same type and payload.
        let plain =
            RawObject::parse_within(MAX_ENVELOPED_DEPTH, std::str::from_utf8(&message).unwrap()).unwrap();
        let kind = event.kind.as_deref().unwrap_or("notification");
        assert_eq!(plain.get("type").and_then(string).as_deref(), Some(kind));
        assert_eq!(plain.get("payload").unwrap().get(), event.data.as_str());
    }
}

#[test]
fn an_envelope_of_another_program_is_ignored() {
    for extra in [
        "1",
        "{}",
        r#"{"id":"x","node":"n","timestamp":"t"}"#,
        "[\"private_to\"]",
    ] {
        let message = format!(r#"{{"type":"t","payload":1,"fanfare":{extra}}}"#);
        let event = parse("user_noti:1", &message).unwrap();
        assert_eq!((event.kind.as_deref(), event.data.as_str()), (Some("t"), "1"));
    }
}

/// The list has an envelope's values, in the order of its fields.
#[test]
fn a_list_is_not_an_envelope() {
    let message = r#"{"type":"t","payload":1,
        "fanfare": ["0192f0c1-2345-7abc-8def-0123456789ab","n","2026-01-01T00:00:00.000Z"]}"#;
    let event = parse("user_noti:1", message).unwrap();
    assert_ne!(event.id.to_string(), "0192f0c1-2345-7abc-8def-0123456789ab");
}

#[test]
fn fields_of_an_envelope_are_validated() {
    let long = "a".repeat(MAX_NAME_BYTES + 1);
    let read = |more: &str| {
        parse(
            "fanfare:channel:a",
            &format!(
                r#"{{"type":"t","payload":1,"fanfare":{{"id":"0192f0c1-2345-7abc-8def-0123456789ab",
                    "node":"n","timestamp":"2026-01-01T00:00:00.000Z","of a later version":[1]{more}}}}}"#
            ),
        )
    };
    let plain = read("").unwrap();
    assert_eq!(plain.id.to_string(), "0192f0c1-2345-7abc-8def-0123456789ab");
    for ignored in [
        r#","metadata":[]"#,
        r#","metadata":null"#,
        r#","sender":"""#,
        &format!(r#","sender":"{long}""#),
        r#","username":"nobody's""#,
    ] {
        let event = read(ignored).unwrap();
        assert_eq!(event.id, plain.id, "{ignored}");
        assert_eq!((event.metadata, event.sender), (None, None), "{ignored}");
    }
    for refused in [
        r#","private_to":"a""#,
        r#","private_to":[1]"#,
        r#","private_to":[""]"#,
        &format!(r#","private_to":["{long}"]"#),
        r#","private_to":["a"],"private_to":[]"#,
        r#","private_to":["a"],"sender":5"#,
        r#","private_to":["a"],"readers_of":"*""#,
        r#","private_to":["a"],"readers_of":["project:9"]"#,
    ] {
        assert_eq!(read(refused).unwrap_err(), Rejected::BadEnvelope, "{refused}");
    }
}
