//! `GET /asyncapi.json`: a channel for each dialect, with its messages.

use fanfare_core::{DialectKind, Registry};
use serde_json::{Value, json};

use crate::http::merge::merged;

/// Returns the document of these dialects.
pub(super) fn document(registry: Registry) -> Value {
    let head = json!({
        "asyncapi": "3.0.0",
        "info": {
            "title": "Fanfare",
            "version": env!("CARGO_PKG_VERSION"),
            "description": "The messages over WebSockets: a channel for each dialect. \
                            openapi.json has the routes over HTTP.",
            "license": { "name": env!("CARGO_PKG_LICENSE") },
        },
        "defaultContentType": "application/json",
        "components": { "schemas": history() },
    });
    let kinds = registry.iter();
    // They cannot be invalid: they are compiled in, and a test parses them.
    let part = |kind: &DialectKind| serde_json::from_str(kind.asyncapi).ok();
    let parts = kinds.clone().filter_map(part);
    let servers = kinds.filter(|kind| !kind.asyncapi.is_empty()).map(server);
    merged([head].into_iter().chain(parts).chain(servers))
}

/// Returns the schemas that the dialects' messages about history share.
fn history() -> Value {
    json!({
        "Cursor": {
            "type": "string",
            "description": "Send it as resume after a reconnect. Only if the client asked for cursors and the event is kept.",
        },
        "Resume": {
            "type": "object",
            "description": "Whether the missed events follow. Only if the client asked for them.",
            "required": ["cursor", "recovered", "replayed"],
            "properties": {
                "cursor": { "type": "string" },
                "recovered": { "type": "boolean", "description": "False: events were lost; reload your state." },
                "replayed": { "type": "integer", "minimum": 0 },
                "reason": { "type": "string", "enum": ["expired", "epoch", "limit", "unknown"] },
            },
        },
    })
}

/// Returns the default address of a dialect.
fn server(kind: &DialectKind) -> Value {
    let (name, binds) = (kind.name, kind.binds);
    let bind = binds.first().and_then(|bind| bind.rsplit_once(':'));
    let port = bind.map_or("8081", |(_, port)| port);
    json!({
        "servers": { name: {
            "host": format!("localhost:{port}"),
            "protocol": "ws",
            "description": format!("{} The address is the default.", kind.summary),
        }},
        "channels": { name: { "servers": [{ "$ref": format!("#/servers/{name}") }] } },
    })
}
