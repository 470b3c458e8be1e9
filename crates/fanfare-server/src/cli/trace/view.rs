//! A trace as text.

use std::fmt::Write as _; // writing to a string cannot fail

use serde_json::Value;

use crate::cli::output::{Paint, shown};

/// Returns the trace in lines, with colours if it is for a terminal.
pub(super) fn text(trace: &Value, colours: bool) -> String {
    let paint = Paint::new(colours);
    let mut text = String::new();
    head(&mut text, paint, &trace["event"]);
    let deliveries: Vec<&Value> = trace["deliveries"].as_array().into_iter().flatten().collect();
    let entry = &trace["entry"];
    let _ = writeln!(
        text,
        "{} {}",
        branch(deliveries.is_empty()),
        entered(paint, entry)
    );
    for (at, delivery) in deliveries.iter().enumerate() {
        let is_last = at + 1 == deliveries.len();
        let _ = writeln!(text, "{} {}", branch(is_last), node(paint, entry, delivery));
        let stem = if is_last { "   " } else { "│  " };
        let connections: Vec<&Value> = delivery["connections"].as_array().into_iter().flatten().collect();
        let left_out = delivery["left_out"].as_u64().unwrap_or_default();
        for (at, own) in connections.iter().enumerate() {
            let is_last = at + 1 == connections.len() && left_out == 0;
            let _ = writeln!(text, "{stem}{} {}", branch(is_last), connection(paint, own));
        }
        if left_out > 0 {
            let _ = writeln!(text, "{stem}└─ and {left_out} connections that are not recorded");
        }
    }
    let nodes = trace["nodes"].as_u64().unwrap_or_default();
    let silent = nodes.saturating_sub(deliveries.len() as u64);
    if silent > 0 {
        let _ = writeln!(
            text,
            "{silent} of {nodes} nodes did not receive it: no connection there asked for it"
        );
    }
    if trace["degraded"] == true {
        let _ = writeln!(text, "not every node has answered, so there may be more");
    }
    if let Some(reason) = trace["about"]["reason"].as_str() {
        let verdict = trace["about"]["verdict"].as_str().unwrap_or_default();
        let _ = writeln!(text, "\n{}", paint.outcome(verdict, &shown(reason)));
    }
    text
}

fn head(text: &mut String, paint: Paint, event: &Value) {
    let word = |name: &str| event[name].as_str().map(shown);
    let to = match (word("channel"), word("user")) {
        (Some(channel), _) => format!("on {channel}"),
        (None, Some(user)) => format!("for the user {user}"),
        (None, None) => "for everyone".into(),
    };
    let kind = word("type").map(|kind| format!(" {kind}")).unwrap_or_default();
    let id = word("id").unwrap_or_default();
    let _ = writeln!(text, "{} {to}", paint.strong(&format!("event{kind}")));
    let _ = writeln!(
        text,
        "{}",
        paint.faint(&format!("{id}, {} bytes of data", event["data_bytes"]))
    );
    let sender = word("sender")
        .map(|sender| format!(" by {sender}"))
        .unwrap_or_default();
    let published = word("published_at").unwrap_or_default();
    let _ = writeln!(text, "published at {published}{sender}");
    if let Some(users) = event["private_to"].as_u64() {
        let _ = writeln!(text, "private to {users} users");
    }
}

fn entered(paint: Paint, entry: &Value) -> String {
    let Some(door) = entry["door"].as_str() else {
        return "entered by no door of these nodes: another program published it on the broker, or the trace was armed later"
            .into();
    };
    let dialect = entry["dialect"].as_str();
    let dialect = dialect.map(|dialect| format!(" ({dialect})")).unwrap_or_default();
    let allowed = entry["allowed_by"].as_str();
    let allowed = allowed
        .map(|by| format!(", allowed by {}", shown(by)))
        .unwrap_or_default();
    let node = paint.faint(&short(&entry["node"]));
    format!(
        "{} node {node} by {door}{dialect}{allowed}",
        paint.strong("entered")
    )
}

fn node(paint: Paint, entry: &Value, delivery: &Value) -> String {
    let name = paint.faint(&short(&delivery["node"]));
    let is_same = entry["node"] == delivery["node"] && entry["node"].is_string();
    let which = if is_same { " (the same)" } else { "" };
    let count = |name: &str| delivery[name].as_u64().unwrap_or_default();
    format!(
        "{} node {name}{which}: {} matched, {} queued, {} dropped, {} filtered",
        paint.strong("delivered on"),
        count("matched"),
        count("queued"),
        count("dropped"),
        count("filtered")
    )
}

fn connection(paint: Paint, own: &Value) -> String {
    let word = |name: &str| own[name].as_str().map(shown).unwrap_or_default();
    let outcome = word("outcome");
    let user = own["user"].as_str().map_or_else(|| "anonymous".into(), shown);
    let time = ["acknowledged_ms", "written_ms", "queued_ms"]
        .iter()
        .find_map(|name| own[*name].as_f64())
        .map(|ms| format!(" after {ms:.1} ms"))
        .unwrap_or_default();
    let why = match outcome.as_str() {
        "acknowledged" | "written" => String::new(),
        _ => format!(": {}", word("reason")),
    };
    let about = paint.faint(&format!("{} {}", word("dialect"), word("id")));
    format!(
        "{} {user} {about}{time}{why}",
        paint.outcome(&outcome, &format!("{outcome:<12}"))
    )
}

fn branch(is_last: bool) -> &'static str {
    if is_last { "└─" } else { "├─" }
}

/// Returns the end of a node's id, by which nodes differ.
fn short(id: &Value) -> String {
    let id = id.as_str().map(shown).unwrap_or_default();
    id.rsplit('-').next().unwrap_or_default().to_owned()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_trace_is_drawn_as_a_tree() {
        let node = |end: &str| format!("0190a1b2-c3d4-7e5f-8a9b-{end}");
        let connection = |user: Option<&str>, outcome: &str, reason: &str, ms: Option<f64>| {
            json!({"id": "c", "dialect": "plain", "user": user, "outcome": outcome, "reason": reason,
                "queued_ms": null, "written_ms": ms, "acknowledged_ms": null})
        };
        let trace = json!({
            "event": {"id": "e", "type": "m\u{1b}", "user": null, "channel": "chat.a", "published_at": "2026",
                "sender": "ann", "data_bytes": 3, "private_to": null},
            "entry": {"node": node("aa"), "door": "client", "dialect": "plain", "allowed_by": "rule 1", "rule": null},
            "deliveries": [
                {"node": node("aa"), "shards": 1, "finished_shards": 1, "matched": 1, "queued": 1, "dropped": 0,
                    "filtered": 0, "left_out": 0, "connections": [connection(Some("ann"), "written", "", Some(1.25))]},
                {"node": node("bb"), "shards": 1, "finished_shards": 1, "matched": 0, "queued": 0, "dropped": 0,
                    "filtered": 1, "left_out": 2, "connections": [connection(None, "refused", "rule 2", None)]},
            ],
            "nodes": 3,
            "about": {"user": "bob", "verdict": "no_connection", "reason": "bob: no connection", "connections_now": 0},
        });
        let expected = "\
event m\\u{1b} on chat.a
e, 3 bytes of data
published at 2026 by ann
├─ entered node aa by client (plain), allowed by rule 1
├─ delivered on node aa (the same): 1 matched, 1 queued, 0 dropped, 0 filtered
│  └─ written      ann plain c after 1.2 ms
└─ delivered on node bb: 0 matched, 0 queued, 0 dropped, 1 filtered
   ├─ refused      anonymous plain c: rule 2
   └─ and 2 connections that are not recorded
1 of 3 nodes did not receive it: no connection there asked for it

bob: no connection
";
        assert_eq!(text(&trace, false), expected);
        let coloured = text(&trace, true);
        assert!(
            coloured.contains("\u{1b}[32mwritten") && coloured.contains("\u{1b}[31mbob"),
            "{coloured}"
        );
        // An answer of any form is shown.
        for odd in [
            json!(null),
            json!([]),
            json!({"deliveries": 7, "event": "x", "entry": []}),
        ] {
            assert!(!text(&odd, true).is_empty());
        }
    }
}
