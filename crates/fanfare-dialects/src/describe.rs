//! Helpers for a dialect's part of the `OpenAPI` document.

use serde_json::{Value, json};
use utoipa::{
    OpenApi, ToSchema,
    openapi::{Object, ObjectBuilder, Type},
};

/// Returns the description of `Api`, without the fields of the whole document.
pub(crate) fn part<Api: OpenApi>() -> Value {
    let mut part = serde_json::to_value(Api::openapi()).unwrap_or_default();
    if let Value::Object(fields) = &mut part {
        fields.retain(|field, _| matches!(field.as_str(), "tags" | "paths" | "components"));
    }
    part
}

/// Returns the same for a dialect that refuses handshakes with the body `Error`, which must be one of the types of
/// `Api`.
pub(crate) fn refusing<Api: OpenApi, Error: ToSchema>() -> Value {
    let mut part = part::<Api>();
    let form = format!("#/components/schemas/{}", Error::name());
    part["components"]["schemas"]["UpgradeError"] = json!({ "anyOf": [{ "$ref": form }] });
    part
}

/// Returns the schema of a field that is true if it is present.
pub(crate) fn yes() -> Object {
    constant(true)
}

/// Returns the schema of a field that is always false.
pub(crate) fn no() -> Object {
    constant(false)
}

fn constant(value: bool) -> Object {
    ObjectBuilder::new()
        .schema_type(Type::Boolean)
        .enum_values(Some([value]))
        .build()
}
