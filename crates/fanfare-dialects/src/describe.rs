//! Parts of the document that describes the server, made of the types that a dialect answers with.

use serde_json::{Value, json};
use utoipa::{
    OpenApi, ToSchema,
    openapi::{Object, ObjectBuilder, Type},
};

/// What `Api` describes, less what a part has no say in.
pub(crate) fn part<Api: OpenApi>() -> Value {
    let mut part = serde_json::to_value(Api::openapi()).unwrap_or_default();
    if let Value::Object(fields) = &mut part {
        fields.retain(|field, _| matches!(field.as_str(), "tags" | "paths" | "components"));
    }
    part
}

/// As [`part`], for a dialect that refuses handshakes in the form of `Error`, which must be among what `Api` describes.
pub(crate) fn refusing<Api: OpenApi, Error: ToSchema>() -> Value {
    let mut part = part::<Api>();
    let form = format!("#/components/schemas/{}", Error::name());
    part["components"]["schemas"]["UpgradeError"] = json!({ "anyOf": [{ "$ref": form }] });
    part
}

/// A field that is true where it is there.
pub(crate) fn yes() -> Object {
    constant(true)
}

/// A field that is always false.
pub(crate) fn no() -> Object {
    constant(false)
}

fn constant(value: bool) -> Object {
    ObjectBuilder::new()
        .schema_type(Type::Boolean)
        .enum_values(Some([value]))
        .build()
}
