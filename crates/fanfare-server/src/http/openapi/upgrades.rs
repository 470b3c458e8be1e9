//! Describes the WebSocket paths as routes: one for each path, because dialects may share a path.

use std::collections::BTreeMap;

use serde_json::{Value, json};

/// Returns a part with a route for each address among the `channels` of all dialects.
pub(super) fn routes(channels: &Value) -> Value {
    let mut by_path: BTreeMap<&str, Vec<(&str, &Value)>> = BTreeMap::new();
    for (name, channel) in channels.as_object().into_iter().flatten() {
        if let Some(path) = channel["address"].as_str() {
            by_path.entry(path).or_default().push((name, channel));
        }
    }
    let routes = by_path
        .into_iter()
        .map(|(path, dialects)| (path.to_owned(), json!({ "get": operation(path, &dialects) })));
    json!({ "paths": Value::Object(routes.collect()) })
}

fn operation(path: &str, dialects: &[(&str, &Value)]) -> Value {
    let names: Vec<_> = dialects.iter().map(|(name, _)| *name).collect();
    let error = |description: &str| {
        json!({
            "description": description,
            "content": { "application/json": { "schema": { "$ref": "#/components/schemas/UpgradeError" } } },
        })
    };
    json!({
        "tags": ["WebSocket"],
        "x-dialects": names,
        "operationId": format!("connect{}", path.replace('/', "_")),
        "summary": format!("Connects a WebSocket client: {}.", names.join(", ")),
        "description": "The listener decides which dialect answers. Its messages are in asyncapi.json.",
        "parameters": parameters(dialects),
        "responses": {
            "101": { "description": "The connection is a WebSocket from now on." },
            "400": error("The handshake is invalid."),
            "401": error("The token is missing or invalid."),
            "403": error("The origin, or the user, may not connect."),
            "426": error("The request is not a WebSocket handshake of version 13."),
            "429": error("Too many connections of this user or address, or too many attempts."),
            "503": { "description": "The server is full, or is stopping." },
        },
        "security": [{ "bearer": [] }, {}],
    })
}

/// Returns the query parameters of all these dialects, each once.
fn parameters(dialects: &[(&str, &Value)]) -> Vec<Value> {
    let mut all: BTreeMap<&str, Value> = BTreeMap::new();
    for (dialect, channel) in dialects {
        let own = channel["bindings"]["ws"]["query"]["properties"].as_object();
        for (name, schema) in own.into_iter().flatten() {
            let described = schema["description"].as_str().unwrap_or_default();
            let parameter = all.entry(name).or_insert_with(
                || json!({ "name": name, "in": "query", "description": "", "schema": { "type": "string" } }),
            );
            let text = parameter["description"].as_str().unwrap_or_default();
            let space = if text.is_empty() { "" } else { " " };
            parameter["description"] = format!("{text}{space}In {dialect}: {described}").into();
        }
    }
    all.into_values().collect()
}
