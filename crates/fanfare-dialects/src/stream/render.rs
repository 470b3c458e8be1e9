//! Renders events and the server's own messages, each as a server-sent event and as a line of JSON.

use std::time::SystemTime;

use bytes::Bytes;
use fanfare_core::{Ending, Event, Render, Rendering, history::Resumption, timestamp};
use uuid::Uuid;

use super::Stream;
use crate::text::quoted;

impl Render for Stream {
    fn render(&self, event: &Event) -> Option<Rendering> {
        Some(rendered(event, None))
    }

    fn render_with_cursor(&self, event: &Event, cursor: &str) -> Option<Rendering> {
        Some(rendered(event, Some(cursor)))
    }

    fn missed(&self, resumption: &Resumption, _id: Uuid, _now: SystemTime) -> Option<Rendering> {
        Some(Rendering::Forms(resume(resumption)))
    }

    fn ping(&self, _now: SystemTime) -> Option<Rendering> {
        Some(Rendering::Forms(
            [b":\n\n".as_slice(), b"\n"].map(Bytes::from_static),
        ))
    }

    fn closing_message(&self, ending: Ending, _now: SystemTime) -> Option<Rendering> {
        Some(Rendering::Forms(end(ending.label())))
    }
}

/// Returns the first message: the result of the resume, and the time after which the client should reconnect.
pub(super) fn opening(resumed: &Resumption, retry_ms: u64) -> [Bytes; 2] {
    let [block, line] = resume(resumed);
    [retrying(&block, retry_ms), line]
}

/// Returns a whole body of a stream that ends at once, for a client that should reconnect later.
pub(super) fn later(reason: &str, retry_ms: u64) -> Bytes {
    let [block, _] = end(reason);
    retrying(&block, retry_ms)
}

fn retrying(block: &Bytes, retry_ms: u64) -> Bytes {
    [format!("retry: {retry_ms}\n").as_bytes(), block].concat().into()
}

pub(super) fn end(reason: &str) -> [Bytes; 2] {
    let data = format!(r#"{{"reason":{}}}"#, quoted(reason));
    own("stream.end", None, &data)
}

fn resume(resumed: &Resumption) -> [Bytes; 2] {
    let cursor = resumed.cursor.map(|cursor| cursor.to_string());
    own("resume", cursor.as_deref(), &resumed.json())
}

fn own(kind: &str, cursor: Option<&str>, data: &str) -> [Bytes; 2] {
    let line = format!("{{\"type\":\"{kind}\",\"data\":{data}}}\n");
    [block(cursor, Some(kind), data.as_bytes()), line.into()]
}

fn rendered(event: &Event, cursor: Option<&str>) -> Rendering {
    let channel = quoted(&event.audience.channel_name());
    let or_null = |text: Option<&str>| text.map_or_else(|| "null".to_owned(), quoted);
    let kind = or_null(event.kind.as_deref());
    let sender = or_null(event.sender.as_deref().map(|sender| &*sender.id));
    let (id, time) = (event.id, timestamp(event.timestamp));
    let rest = format!(r#","sender":{sender},"id":"{id}","timestamp":"{time}""#);
    let head = format!(r#"{{"channel":{channel},"type":{kind},"data":"#);
    let mut object = [head.as_bytes(), event.data.bytes(), rest.as_bytes()].concat();
    // A line break in an event's data can only stand between tokens, where a space is equivalent.
    for byte in object.iter_mut().filter(|byte| matches!(**byte, b'\n' | b'\r')) {
        *byte = b' ';
    }
    let cursor_field = cursor.map_or_else(String::new, |cursor| format!(r#","cursor":"{cursor}""#));
    let line = [&object, cursor_field.as_bytes(), b"}\n"].concat();
    object.push(b'}');
    Rendering::Forms([block(cursor, event.kind.as_deref(), &object), line.into()])
}

/// Returns a server-sent event. A type with control characters is only in the data: no line of the form can carry it.
fn block(cursor: Option<&str>, kind: Option<&str>, data: &[u8]) -> Bytes {
    let line = |name: &str, value: Option<&str>| {
        let value = value.filter(|value| !value.contains(char::is_control));
        value.map_or_else(String::new, |value| format!("{name}: {value}\n"))
    };
    let head = line("id", cursor) + &line("event", kind);
    [head.as_bytes(), b"data: ", data, b"\n\n"].concat().into()
}

#[cfg(test)]
mod tests {
    use fanfare_core::{Audience, RawJson};

    use super::*;

    #[test]
    fn an_event_is_one_line_whatever_it_contains() {
        let data = b"{\n\"x\":\r\n\"\\n\\nevent: forged\"}";
        let data = RawJson::parse(&Bytes::from_static(data)).expect("JSON");
        for (kind, event_line) in [
            (Some("note"), Some("event: note")),
            (Some("a\nid: forged"), None),
            (Some("a\0"), None),
            (None, None),
        ] {
            let event = Event::new(Audience::Everyone, kind, data.clone(), SystemTime::UNIX_EPOCH);
            let Some(Rendering::Forms(forms)) = Stream::default().render_with_cursor(&event, "1-a") else {
                panic!("two forms");
            };
            let [block, line] = forms.map(|form| String::from_utf8(form.to_vec()).expect("text"));
            let lines: Vec<_> = block.strip_suffix("\n\n").expect("an end").split('\n').collect();
            assert_eq!(lines[0], "id: 1-a");
            assert_eq!(
                lines.get(1).filter(|_| lines.len() == 3).copied(),
                event_line,
                "{block}"
            );
            let block = lines[lines.len() - 1].strip_prefix("data: ").expect("data");
            let mut of_block: serde_json::Value = serde_json::from_str(block).expect("JSON");
            assert_eq!(of_block["type"].as_str(), kind);
            of_block["cursor"] = "1-a".into();
            assert_eq!(line.matches('\n').count(), 1);
            assert_eq!(
                of_block,
                serde_json::from_str::<serde_json::Value>(&line).expect("JSON")
            );
        }
    }
}
