#![allow(clippy::unwrap_used)]

use std::time::Duration;

use fanfare_core::Channel;

use super::*;

fn parse(channel: &str, message: &str) -> Result<Event, Rejected> {
    let mut events = parse_message(
        channel.as_bytes(),
        &Bytes::copy_from_slice(message.as_bytes()),
        SystemTime::UNIX_EPOCH,
    )?;
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
        let events = parse_message(b"user_noti:1", &message, SystemTime::UNIX_EPOCH).unwrap();
        assert_eq!(events[0].data.as_str(), payload);
        assert!(message.as_ptr_range().contains(&events[0].data.bytes().as_ptr()));
    }
}

#[test]
fn what_is_refused() {
    let good = r#"{"type":"t","payload":1}"#;
    let cases = [
        ("user_noti:", good, Rejected::BadUser),
        ("user_noti:a\u{7}", good, Rejected::BadUser),
        ("a..b", good, Rejected::BadChannel),
        ("", good, Rejected::BadChannel),
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
    let refused = parse_message(b"user_noti:1", &not_utf8, SystemTime::UNIX_EPOCH);
    assert_eq!(refused.unwrap_err(), Rejected::NotJson);
    let refused = parse_message(
        b"user_noti:\xff",
        &Bytes::from_static(good.as_bytes()),
        SystemTime::UNIX_EPOCH,
    );
    assert_eq!(refused.unwrap_err(), Rejected::BadChannel);
}

#[test]
fn the_last_of_doubles_wins() {
    let event = parse(
        "user_noti:1",
        r#"{"type":"a","payload":1,"type":"b","payload":2}"#,
    )
    .unwrap();
    assert_eq!((event.kind.as_deref(), event.data.as_str()), (Some("b"), "2"));
}

#[test]
fn depth_is_limited_wherever_it_is() {
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
    let cases = [
        ("a.b", r#"{"type":"t","payload":1}"#, Some("t"), "1"),
        (
            "a.b",
            r#"{"type":5,"payload":1}"#,
            None,
            r#"{"type":5,"payload":1}"#,
        ),
        ("a.b", r#"{"payload":1}"#, None, r#"{"payload":1}"#),
        ("fanfare:channel:a.b", " [1, 2] ", None, "[1, 2]"),
    ];
    for (channel, message, kind, data) in cases {
        let event = parse(channel, message).unwrap();
        assert_eq!(event.audience, Audience::Channel(Channel::new("a.b").unwrap()));
        assert_eq!((event.kind.as_deref(), event.data.as_str()), (kind, data));
    }
}

#[test]
fn bodies_of_the_service_api() {
    let body = r#"[{"to":{"user":"1"},"data":1},{"to":"everyone","type":"t","data":2}]"#;
    let events = parse_message(b"fanfare:events", &Bytes::from(body), SystemTime::UNIX_EPOCH).unwrap();
    assert_eq!(events.len(), 2);
    assert_eq!(events[0].audience, user("1"));
}

#[test]
fn names_and_messages_go_there_and_back() {
    let audiences = [
        user("a:b"),
        Audience::Everyone,
        Audience::Channel(Channel::new("a:b.c").unwrap()),
    ];
    for audience in audiences {
        for (kind, sender) in [(Some("a\"b"), None), (None, Some("s\u{e9}"))] {
            let data = RawJson::parse(&Bytes::from_static(br#"{"z":[1.10, "\u00e9"]}"#)).unwrap();
            let now = SystemTime::UNIX_EPOCH + Duration::from_millis(1_700_000_000_123);
            let mut event = Event::new(audience.clone(), kind, data, now);
            event.sender = sender.map(fanfare_core::Sender::new);
            let envelope = Envelope {
                node: "n1".into(),
                reply: Some(7),
            };
            let message = encode(&event, &envelope);
            let parsed = super::parse(
                redis_channel(&event.audience).as_bytes(),
                &message,
                SystemTime::UNIX_EPOCH,
            );
            let Ok(Parsed::One(read, Some(read_envelope))) = parsed else {
                panic!("{parsed:?}")
            };
            assert_eq!(read_envelope, envelope);
            assert_eq!(read.id, event.id);
            assert_eq!(read.kind, event.kind);
            assert_eq!(read.audience, event.audience);
            assert_eq!(read.data, event.data);
            assert_eq!(read.sender, event.sender);
            assert_eq!(read.timestamp, event.timestamp);

            // What a subscriber of other make sees.
            let plain: serde_json::Value = serde_json::from_slice(&message).unwrap();
            assert_eq!(plain["type"], kind.unwrap_or("notification"));
            assert!(plain["payload"]["z"].is_array());
        }
    }
    let user = UserId::new("a:b").unwrap();
    assert_eq!(redis_channel(&Interest::User(user)), "user_noti:a:b");
}

#[test]
fn an_envelope_of_other_make_is_an_extra_field() {
    for extra in ["1", "{}", r#"{"id":"x","node":"n","timestamp":"t"}"#] {
        let message = format!(r#"{{"type":"t","payload":1,"fanfare":{extra}}}"#);
        let event = parse("user_noti:1", &message).unwrap();
        assert_eq!((event.kind.as_deref(), event.data.as_str()), (Some("t"), "1"));
    }
}
