//! Cases that are too long or too many for a transcript, and the declaration.
#![allow(clippy::unwrap_used)]

use std::time::UNIX_EPOCH;

use fanfare_core::{
    Command, Context, Conversation, Message, Options, Receives, Reception, Rendering, Step, Steps,
};
use serde_json::Value;
use uuid::Uuid;

use super::{KIND, conversation::Client};

/// Returns the steps after an anonymous client's message.
fn receive(text: &str) -> Steps {
    let context = Context::new(UNIX_EPOCH, Uuid::nil(), None);
    let mut steps = Steps::new();
    Client::default().received(Message::Text(text), &context, &mut steps);
    steps
}

/// Returns the code and the message of the error that answers `text`.
fn error(text: &str) -> (u64, String) {
    let steps = receive(text);
    let [Step::Send(Rendering::Text(reply))] = &*steps else {
        panic!("{text:.60}: {steps:?}")
    };
    let reply: Value = serde_json::from_slice(reply).unwrap();
    assert_eq!(reply["type"], "Error");
    assert_eq!(reply["timestamp"], 0);
    let message = reply["data"]["message"].as_str().unwrap();
    (reply["data"]["code"].as_u64().unwrap(), message.to_owned())
}

fn subscribe(topics: usize) -> String {
    let names: Vec<_> = (0..topics).map(|number| format!("\"t{number}\"")).collect();
    format!(
        r#"{{"type":"Subscribe","data":{{"topics":[{}]}}}}"#,
        names.join(",")
    )
}

#[test]
fn a_message_names_at_most_a_thousand_topics() {
    match &*receive(&subscribe(1000)) {
        [Step::Ask(Command::Subscribe { to, whole: true, .. })] => assert_eq!(to.len(), 1000),
        other => panic!("{other:?}"),
    }
    let too_many = (400, "data.topics has more than 1000 entries".to_owned());
    assert_eq!(error(&subscribe(1001)), too_many);
    assert_eq!(
        error(&subscribe(1001).replace("Subscribe", "Unsubscribe")),
        too_many
    );
}

#[test]
fn deep_nesting_is_refused() {
    let deep = "[".repeat(10_000) + &"]".repeat(10_000);
    let open = "{\"data\":".repeat(10_000);
    for text in [
        format!(r#"{{"type":"Broadcast","data":{{"topic":"a","payload":{deep}}}}}"#),
        format!(r#"{{"type":"Ping","more":{deep}}}"#),
        deep,
        open,
    ] {
        let (code, message) = error(&text);
        assert_eq!(code, 400);
        assert!(message.contains("nested deeper than 128"), "{message}");
    }
}

#[test]
fn errors_show_only_the_start_of_long_values() {
    for long in ["x".repeat(60_000), "🎺".repeat(15_000), "\\u0001".repeat(10_000)] {
        for text in [
            format!(r#"{{"type":"{long}"}}"#),
            format!(r#"{{"type":"Subscribe","data":{{"topics":["{long}"]}}}}"#),
            format!(r#"{{"type":"Broadcast","data":{{"topic":"{long}","payload":1}}}}"#),
        ] {
            let (code, message) = error(&text);
            assert_eq!(code, 400);
            assert!(message.chars().count() < 180, "{message}");
        }
    }
}

/// Parses each prefix of a message, and each message with one byte changed.
#[test]
fn broken_messages_get_replies_in_valid_json() {
    for whole in [
        r#"{"type":"Subscribe","data":{"topics":["a.b","c"]},"timestamp":1}"#,
        r#"{"type":"Broadcast","data":{"topic":"a","payload":{"n":[1.0,null]}}}"#,
        r#"{"type":"DirectMessage","data":{"target_user":7,"payload":"\u00e9"}}"#,
        r#"{"type":"Ping","data":{"timestamp":-1.5e3}}"#,
    ] {
        for end in 0..whole.len() {
            assert_eq!(error(&whole[..end]).0, 400);
            for replaced in ["\"", "{", "]", "\\", "0", "é", "\u{0}", ""] {
                let text = format!("{}{replaced}{}", &whole[..end], &whole[end + 1..]);
                for step in receive(&text) {
                    if let Step::Send(Rendering::Text(reply)) = step {
                        assert!(serde_json::from_slice::<Value>(&reply).is_ok(), "{text}");
                    }
                }
            }
        }
    }
}

#[test]
fn an_idle_connection_takes_at_most_16_bytes() {
    assert!(size_of::<Client>() <= 16);
}

#[test]
fn the_declaration_is_that_of_the_protocol() {
    assert_eq!((KIND.name, KIND.path), ("realtime", "/ws"));
    assert_eq!(KIND.binds, ["0.0.0.0:8081", "0.0.0.0:8082"]);
    assert_eq!((KIND.max_connections, KIND.max_message_size), (10_000, 65_536));
    assert_eq!(
        (KIND.max_connections_per_ip, KIND.max_connections_per_user),
        (0, 0)
    );

    let options = Options::default();
    let own: super::Realtime = options.get();
    assert!(!own.require_auth && own.required_roles.is_empty() && own.public.is_empty());
    let given = KIND.options.read(serde_json::json!({ "public": ["news.**"] }));
    assert_eq!(given.unwrap().get::<super::Realtime>().public.len(), 1);

    let dialect = (KIND.open)(&options);
    let reception = Reception {
        user: Receives::Always,
        everyone: Receives::Subscribed,
    };
    assert_eq!(dialect.receives(), reception);
    assert_eq!(dialect.own_types(), ["Status", "Ack", "Error", "Pong"]);
    assert!(dialect.endpoints().iter().all(|endpoint| !endpoint.guarded));
    assert_eq!(dialect.name_for(Uuid::nil()), None);
}
