//! Cases that are too long, too deep or too many for a transcript.

#![allow(clippy::unwrap_used)]

use std::{sync::Arc, time::Duration, time::SystemTime};

use fanfare_core::{
    Command, Context, Conversation, Identity, MAX_DEPTH, Message, Options, Outcome, Receives, Reception,
    Rendering, Step, Steps, Target, Unit, UserId,
};
use serde_json::{Value, json};
use uuid::Uuid;

use super::{KIND, conversation::Client, metadata, options::AuthTimeouts};

/// An authenticated connection of the user alice.
struct Alice {
    client: Client,
    identity: Arc<Identity>,
}

impl Alice {
    fn new() -> Self {
        let user = UserId::new("alice").unwrap();
        let timeouts = AuthTimeouts {
            auth_timeout: Duration::from_secs(30),
            reauth_grace: Duration::from_secs(60),
        };
        let mut alice = Self {
            client: Client::new(Arc::new(timeouts)),
            identity: Arc::new(Identity::new(user, SystemTime::UNIX_EPOCH)),
        };
        alice.send(r#"{"type":"auth","token":"t"}"#);
        alice.answer(Outcome::Authenticated);
        alice
    }

    fn send(&mut self, text: &str) -> Steps {
        let mut steps = Steps::new();
        let context = context(&self.identity);
        self.client.received(Message::Text(text), &context, &mut steps);
        steps
    }

    fn answer(&mut self, answer: Outcome) -> Steps {
        let mut steps = Steps::new();
        let context = context(&self.identity);
        self.client.answered(Ok(answer), &context, &mut steps);
        steps
    }

    /// Returns the details of the one error that answers `text`.
    fn error_details(&mut self, text: &str) -> Value {
        let steps = self.send(text);
        assert_eq!(steps.len(), 1, "{text:.60}");
        let answer = frame(&steps[0]);
        assert_eq!(
            (&answer["type"], &answer["code"]),
            (&json!("error"), &json!(400)),
            "{text:.60}"
        );
        answer["details"].clone()
    }
}

fn context(identity: &Arc<Identity>) -> Context<'_> {
    Context::new(SystemTime::UNIX_EPOCH, Uuid::nil(), Some(identity))
}

fn frame(step: &Step) -> Value {
    let Step::Send(Rendering::Text(text)) = step else {
        panic!("nothing is sent: {step:?}")
    };
    serde_json::from_slice(text).unwrap()
}

fn nested(depth: usize) -> String {
    "[".repeat(depth) + &"]".repeat(depth)
}

#[test]
fn the_declaration_is_that_of_the_protocol() {
    assert_eq!((KIND.name, KIND.path), ("topics", "/ws"));
    assert_eq!(KIND.binds, ["0.0.0.0:3000"]);
    assert_eq!(
        (
            KIND.max_connections,
            KIND.max_connections_per_ip,
            KIND.max_connections_per_user,
            KIND.max_message_size
        ),
        (10_000, 100, 0, 1_048_576)
    );

    let dialect = (KIND.open)(&Options::default());
    let reception = Reception {
        user: Receives::Subscribed,
        everyone: Receives::Subscribed,
    };
    assert_eq!(dialect.receives(), reception);
    let own = [
        "auth_success",
        "auth_error",
        "subscribed",
        "unsubscribed",
        "error",
        "pong",
        "message.sent",
    ];
    assert_eq!(dialect.own_types(), own);
    assert!(dialect.endpoints().is_empty());
}

#[test]
fn variables_of_other_servers_set_options() {
    let key = Target::Key;
    let expected = [
        ("WEBSOCKET_ENABLED", Target::Enabled, Unit::Plain),
        ("WEBSOCKET_PORT", Target::Port, Unit::Plain),
        ("WEBSOCKET_HOST", Target::Host, Unit::Plain),
        (
            "WEBSOCKET_PING_INTERVAL",
            key("topics.ping_interval"),
            Unit::Milliseconds,
        ),
        (
            "WEBSOCKET_PING_TIMEOUT",
            key("topics.ping_timeout"),
            Unit::Milliseconds,
        ),
        (
            "WEBSOCKET_MAX_CONNECTIONS_PER_IP",
            key("topics.max_connections_per_ip"),
            Unit::Plain,
        ),
        (
            "WEBSOCKET_MAX_MESSAGE_SIZE",
            key("topics.max_message_size"),
            Unit::Plain,
        ),
    ];
    let inherited = KIND.inherited.iter();
    let found: Vec<_> = inherited
        .map(|one| (one.variable, one.target, one.unit))
        .collect();
    assert_eq!(found, expected);
}

#[test]
fn options_out_of_bounds_are_refused() {
    let options = KIND.options;
    for (name, value, fits) in [
        ("auth_timeout", "1ms", true),
        ("auth_timeout", "0s", false),
        ("reauth_grace", "0s", true),
        ("reauth_grace", "soon", false),
    ] {
        let found = options.read(serde_json::json!({ name: value }));
        assert_eq!(found.is_ok(), fits, "{name} {value}");
    }
}

#[test]
fn an_idle_connection_takes_at_most_48_bytes() {
    assert!(size_of::<Client>() <= 48, "{}", size_of::<Client>());
}

#[test]
fn frames_nested_too_deep_are_refused() {
    let message = |depth| format!(r#"{{"type":"message","topic":"a","data":{}}}"#, nested(depth));
    let mut alice = Alice::new();
    for depth in [MAX_DEPTH, 10_000, 250_000] {
        assert_eq!(alice.error_details(&message(depth))["field"], "frame", "{depth}");
    }
    let steps = alice.send(&message(MAX_DEPTH - 1));
    let [Step::Ask(Command::Publish(draft))] = &steps[..] else {
        panic!("not published")
    };
    assert_eq!(draft.data.as_str(), nested(MAX_DEPTH - 1));
}

#[test]
fn errors_show_only_the_start_of_long_texts() {
    let long = "é".repeat(400_000);
    let shown = "é".repeat(100) + "…";
    let mut alice = Alice::new();
    for (text, issue) in [
        (
            format!(r#"{{"type":"subscribe","topic":"{long}"}}"#),
            "invalid pattern: the name is longer than 255 bytes",
        ),
        (
            format!(r#"{{"type":"message","topic":"{long}","data":1}}"#),
            "invalid topic: the name is longer than 255 bytes",
        ),
    ] {
        assert_eq!(
            alice.error_details(&text),
            json!({ "field": "topic", "issue": issue, "topic": shown })
        );
    }
    let details = alice.error_details(&format!(r#"{{"type":"{long}"}}"#));
    assert_eq!(details["issue"], format!("unknown type: {shown}"));
    let details = alice.error_details(&format!(
        r#"{{"type":"message","topic":"a","data":1,"eventType":"{}"}}"#,
        "x".repeat(256)
    ));
    assert_eq!(details["field"], "eventType");
}

#[test]
fn names_of_the_maximum_length_are_accepted() {
    let mut alice = Alice::new();
    let name = "é".repeat(127) + "x";
    alice.send(&format!(r#"{{"type":"subscribe","topic":"{name}"}}"#));
    let steps = alice.answer(Outcome::Subscribed(vec![Ok(())]));
    assert_eq!(frame(&steps[0])["topic"], name);

    let steps = alice.send(&format!(
        r#"{{"type":"message","topic":"a","data":1,"eventType":"{name}"}}"#
    ));
    assert!(
        matches!(&steps[..], [Step::Ask(Command::Publish(draft))] if draft.kind.as_deref() == Some(&name))
    );
}

#[test]
fn a_list_has_at_most_a_thousand_topics() {
    let list = |kind: &str, count: usize| {
        let topics: Vec<_> = (0..count).map(|number| format!("t.{number}")).collect();
        json!({ "type": kind, "topics": topics }).to_string()
    };
    let mut alice = Alice::new();
    for kind in ["subscribe", "unsubscribe"] {
        assert_eq!(
            alice.error_details(&list(kind, 1001)),
            json!({ "field": "topics", "issue": "more than 1000 topics" })
        );
    }
    assert!(matches!(&alice.send(&list("subscribe", 1000))[..],
        [Step::Ask(Command::Subscribe { to, whole: false, .. })] if to.len() == 1000));
    let answers = alice.answer(Outcome::Subscribed(vec![Ok(()); 1000]));
    let topics: Vec<_> = answers.iter().map(|step| frame(step)["topic"].clone()).collect();
    let expected: Vec<_> = (0..1000).map(|number| json!(format!("t.{number}"))).collect();
    assert_eq!(topics, expected);
}

#[test]
fn an_outcome_without_a_pending_command_sends_nothing() {
    assert_eq!(Alice::new().answer(Outcome::Unsubscribed), []);
}

#[test]
fn metadata_lose_only_the_two_fields_about_the_sender() {
    for (text, expected) in [
        ("{}", Ok("{}")),
        ("{ }", Ok("{ }")),
        (r#"{"a":1 , "b":[1,2]}"#, Ok(r#"{"a":1 , "b":[1,2]}"#)),
        (r#"{"senderId":1}"#, Ok("{}")),
        (r#"{ "senderId" : 1 }"#, Ok("{}")),
        (r#"{"senderId":1,"senderConnectionId":2}"#, Ok("{}")),
        (r#"{"senderId":1 , "b" : 2 }"#, Ok(r#"{ "b" : 2}"#)),
        (r#"{"b" : 2 , "senderId":1 }"#, Ok(r#"{"b" : 2}"#)),
        (
            r#"{"a":",","senderId":"},{","b":"\"senderId\":"}"#,
            Ok(r#"{"a":",","b":"\"senderId\":"}"#),
        ),
        (
            r#"{"\u0073enderId":{"senderId":1},"c":{"senderId":1}}"#,
            Ok(r#"{"c":{"senderId":1}}"#),
        ),
        (
            r#"{"a":1,"a":2,"senderId":3,"a":1.0}"#,
            Ok(r#"{"a":1,"a":2,"a":1.0}"#),
        ),
        ("[]", Err("must be an object")),
        ("null", Err("must be an object")),
        (r#"{"\udfff":1}"#, Err("field names must be Unicode text")),
    ] {
        let found = metadata::without_sender(text);
        assert_eq!(
            found.as_ref().map(fanfare_core::RawJson::as_str),
            expected.as_ref().map(|text| *text),
            "{text}"
        );
    }
}
