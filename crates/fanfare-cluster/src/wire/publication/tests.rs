//! Publications as documented, and the errors for all others.

#![allow(clippy::unwrap_used)]

use fanfare_core::Channel;

use super::*;

fn parse(body: &str) -> Result<Vec<Event>, String> {
    let body = Bytes::copy_from_slice(body.as_bytes());
    parse_publication(&body, SystemTime::UNIX_EPOCH).map_err(|error| error.to_string())
}

#[test]
fn a_byte_order_mark_is_skipped() {
    let events = parse("\u{feff}[{\"to\":\"everyone\",\"data\":1}]").unwrap();
    assert_eq!(events[0].data.as_str(), "1");
}

#[test]
fn one_event_in_full() {
    let events = parse(
        r#" {"to":{"user":"12:3"},"type":"order","data":{"b" : 1.10},"sender":"shop","metadata":{"k" : 1.10},
            "id":"0192f0c1-2345-7abc-8def-0123456789ab"} "#,
    )
    .unwrap();
    let [event] = &events[..] else { panic!("one event") };
    assert_eq!(event.audience, Audience::User(UserId::new("12:3").unwrap()));
    assert_eq!(event.kind.as_deref(), Some("order"));
    assert_eq!(event.data.as_str(), r#"{"b" : 1.10}"#);
    assert_eq!(
        event.metadata.as_ref().map(RawJson::as_str),
        Some(r#"{"k" : 1.10}"#)
    );
    assert_eq!(event.sender, Some(Sender::new("shop")));
    assert_eq!(event.private_to, None);
    assert_eq!(event.id.to_string(), "0192f0c1-2345-7abc-8def-0123456789ab");
    assert_eq!(event.timestamp, SystemTime::UNIX_EPOCH);
}

#[test]
fn a_list_with_every_audience() {
    let events = parse(
        r#"[{"to":"everyone","data":null},{"to":{"channel":"project:123"},"data":[1]},{"to":{"user":"1"},"data":0}]"#,
    )
    .unwrap();
    let audiences: Vec<_> = events.iter().map(|event| event.audience.clone()).collect();
    assert_eq!(
        audiences,
        [
            Audience::Everyone,
            Audience::Channel(Channel::new("project:123").unwrap()),
            Audience::User(UserId::new("1").unwrap()),
        ]
    );
    assert_eq!(events[0].kind, None);
    assert_eq!(events[0].id.get_version_num(), 7);
    assert_ne!(events[0].id, events[1].id);
}

#[test]
fn any_text_is_an_id() {
    let given = "0192f0c1-2345-7abc-8def-0123456789ab";
    let longest = "x".repeat(MAX_ID_BYTES);
    let cases = [
        // A UUID is the id, in any notation.
        (given, given),
        ("0192F0C1-2345-7ABC-8DEF-0123456789AB", given),
        ("0192f0c123457abc8def0123456789ab", given),
        ("{0192f0c1-2345-7abc-8def-0123456789ab}", given),
        ("urn:uuid:0192f0c1-2345-7abc-8def-0123456789ab", given),
        // Of another text, Python's uuid.uuid5(uuid.UUID(int=0), text).
        ("order-42", "51175960-4222-5b79-8202-15e1be4fd407"),
        (" order-42", "ab58ffcd-e4da-585e-a077-c8312f4b7ca9"),
        ("Order-42", "fe8d7969-17da-5289-a96d-d3f5c34f477c"),
        ("é😀", "0abc60ba-4c83-5e77-9404-6da19d7c2680"),
        (r"a\u0000\n", "1b7fd086-5c36-5c9d-b547-031b78138229"),
        (&longest, "d87cc7a9-d0b2-5f82-be6d-c0323d1db8cf"),
    ];
    for (text, id) in cases {
        let body = format!(r#"{{"to":"everyone","data":1,"id":"{text}"}}"#);
        let [event] = &parse(&body).unwrap()[..] else {
            panic!("one event")
        };
        assert!(event.named);
        assert_eq!(event.id.to_string(), id, "{text}");
    }
}

#[test]
fn errors_name_their_place() {
    let to = r#""to":"everyone""#;
    let cases = [
        ("", "expected JSON, nested at most 128 deep"),
        ("nope", "expected JSON, nested at most 128 deep"),
        ("7", "expected an event or a list of events"),
        ("[]", "expected 1 to 10000 events, found 0"),
        ("[7]", "events[0]: expected an object"),
        ("{}", "to: missing"),
        (r#"{"to":"everyone"}"#, "data: missing"),
        (
            r#"[{"to":"everyone","data":1},{"to":"all","data":1}]"#,
            r#"events[1].to: expected {"user": id}, {"channel": name} or "everyone""#,
        ),
        (
            r#"{"to":{"user":"1","channel":"c"},"data":1}"#,
            r#"to: expected {"user": id}, {"channel": name} or "everyone""#,
        ),
        (
            r#"{"to":[],"data":1}"#,
            r#"to: expected {"user": id}, {"channel": name} or "everyone""#,
        ),
        (
            r#"{"to":{"room":"1"},"data":1}"#,
            "to: unknown field `room` (there are: user, channel)",
        ),
        (
            r#"{"to":{"user":123},"data":1}"#,
            "to.user: expected a string; quote the number",
        ),
        (
            r#"{"to":{"user":null},"data":1}"#,
            "to.user: expected a string, found null",
        ),
        (r#"{"to":{"user":""},"data":1}"#, "to.user: the name is empty"),
        (
            r#"{"to":{"channel":"a.*"},"data":1}"#,
            "to.channel: the name is a pattern: a channel's name has no `*`",
        ),
        (
            r#"{"to":{"channel":"project:**"},"data":1}"#,
            "to.channel: the name is a pattern: a channel's name has no `*`",
        ),
        (
            r#"{"to":{"channel":"bad*"},"data":1}"#,
            "to.channel: `*` must be a whole segment of a pattern, as in `chat.*`",
        ),
        (
            r#"{"to":{"channel":7},"data":1}"#,
            "to.channel: expected a string; quote the number",
        ),
        (
            &format!(r#"{{{to},"data":1,"metadata":[]}}"#),
            "metadata: expected an object",
        ),
        (
            &format!(r#"{{{to},"data":1,"metadata":null}}"#),
            "metadata: expected an object",
        ),
        (
            &format!(r#"{{{to},"data":1,"ttl":5}}"#),
            "unknown field `ttl` (there are: to, type, data, metadata, sender, id)",
        ),
        (
            &format!(r#"{{{to},"data":1,"private_to":["1"]}}"#),
            "unknown field `private_to` (there are: to, type, data, metadata, sender, id)",
        ),
        (
            &format!(r#"{{{to},"data":1,"data":2}}"#),
            "field `data` is given twice",
        ),
    ];
    for (body, expected) in cases {
        assert_eq!(parse(body).unwrap_err(), expected, "{body}");
    }
}

#[test]
fn errors_name_the_expected_text() {
    let to = r#""to":"everyone""#;
    let cases = [
        (
            &format!(r#"{{{to},"data":1,"type":5}}"#),
            "type: expected a string of 1 to 255 bytes; quote the number",
        ),
        (
            &format!(r#"{{{to},"data":1,"sender":""}}"#),
            "sender: expected a string of 1 to 255 bytes, found 0",
        ),
        (
            &format!(r#"{{{to},"data":1,"id":""}}"#),
            "id: expected a string of 1 to 128 bytes, found 0",
        ),
        (
            &format!(r#"{{{to},"data":1,"id":"{}"}}"#, "\u{e9}".repeat(65)),
            "id: expected a string of 1 to 128 bytes, found 130",
        ),
        (
            &format!(r#"{{{to},"data":1,"id":42}}"#),
            "id: expected a string of 1 to 128 bytes; quote the number",
        ),
        (
            &format!(r#"{{{to},"data":1,"id":null}}"#),
            "id: expected a string of 1 to 128 bytes, found null",
        ),
        (
            &format!(r#"{{{to},"data":1,"id":["a"]}}"#),
            "id: expected a string of 1 to 128 bytes",
        ),
        (
            &format!(r#"{{{to},"data":1,"id":"\ud800"}}"#),
            "id: expected a string of 1 to 128 bytes",
        ),
    ];
    for (body, expected) in cases {
        assert_eq!(parse(body).unwrap_err(), expected, "{body}");
    }
}

#[test]
fn limits() {
    let event = r#"{"to":"everyone","data":1}"#;
    let list = |n: usize| format!("[{}]", vec![event; n].join(","));
    assert_eq!(parse(&list(MAX_EVENTS)).unwrap().len(), MAX_EVENTS);
    assert!(parse(&list(MAX_EVENTS + 1)).is_err());
    let deep = |n: usize| format!(r#"{{"to":"everyone","data":{}{}}}"#, "[".repeat(n), "]".repeat(n));
    assert!(parse(&deep(MAX_DEPTH - 1)).is_ok());
    assert!(parse(&deep(MAX_DEPTH)).is_err());
    assert!(parse(&deep(100_000)).is_err());
}

#[test]
fn a_uuid_of_version_5_is_that_of_the_rfc() {
    // The example of RFC 9562, appendix A.4.
    let id = uuid_v5(Uuid::NAMESPACE_DNS, "www.example.com");
    assert_eq!(id.to_string(), "2ed6657d-e927-568b-95e1-2665a8aea6a2");
}
