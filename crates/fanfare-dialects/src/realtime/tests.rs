//! Cases that are too long or too many for a transcript, and the declarations.
#![allow(clippy::unwrap_used)]

use std::time::UNIX_EPOCH;

use fanfare_core::{
    Command, Context, Conversation, Message, Options, Receives, Reception, Rendering, Step, Steps,
};
use serde_json::Value;
use uuid::Uuid;

use super::{KIND, conversation::Client};

/// Returns the steps of an anonymous client's message.
fn say(text: &str) -> Steps {
    let context = Context::new(UNIX_EPOCH, Uuid::nil(), None);
    let mut steps = Steps::new();
    Client::default().received(Message::Text(text), &context, &mut steps);
    steps
}

/// Returns the code and the message of the error that answers `text`.
fn error(text: &str) -> (u64, String) {
    let steps = say(text);
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
fn a_thousand_topics_and_no_more() {
    match &*say(&subscribe(1000)) {
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
fn nesting_without_end() {
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
fn long_values_are_cut_in_errors() {
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

/// Every prefix of a message, and every message with one byte changed, is understood or answered in valid JSON.
#[test]
fn broken_messages() {
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
                for step in say(&text) {
                    if let Step::Send(Rendering::Text(reply)) = step {
                        assert!(serde_json::from_slice::<Value>(&reply).is_ok(), "{text}");
                    }
                }
            }
        }
    }
}

#[test]
fn an_idle_connection_is_small() {
    assert!(size_of::<Client>() <= 16);
}

#[test]
fn declared() {
    assert_eq!((KIND.name, KIND.path), ("realtime", "/ws"));

    let defaults = &KIND;
    assert_eq!(defaults.binds, ["0.0.0.0:8081", "0.0.0.0:8082"]);
    assert_eq!(
        (defaults.max_connections, defaults.max_message_size),
        (10_000, 65_536)
    );
    assert_eq!(
        (defaults.max_connections_per_ip, defaults.max_connections_per_user),
        (0, 0)
    );

    let options = Options::default();
    let own: super::Realtime = options.get();
    assert!(!own.require_auth && own.required_roles.is_empty() && own.public.is_empty());
    let given = defaults
        .options
        .read(serde_json::json!({ "public": ["news.**"] }));
    assert_eq!(given.unwrap().get::<super::Realtime>().public.len(), 1);

    let dialect = (KIND.open)(&options);
    let hearing = Reception {
        user: Receives::Always,
        everyone: Receives::Subscribed,
    };
    assert_eq!(dialect.receives(), hearing);
    assert_eq!(dialect.own_types(), ["Status", "Ack", "Error", "Pong"]);
    assert!(dialect.endpoints().iter().all(|endpoint| !endpoint.guarded));
    assert_eq!(dialect.name_for(Uuid::nil()), None);
}
