//! Types whose values are written as text, in the JSON schema: its `x-kind` names the form.

use std::path::PathBuf;

use fanfare_accounts::storage::StorageUrl;
use fanfare_core::GuardedUrl;
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};

/// A type whose values are written as text of a form.
pub(super) trait Textual {
    /// The form's name.
    const KIND: Option<&'static str>;
}

macro_rules! textual {
    ($($type:ty = $kind:expr),+ $(,)?) => {$(
        impl Textual for $type {
            const KIND: Option<&'static str> = $kind;
        }
    )+};
}

textual! {
    GuardedUrl = Some("url"),
    PathBuf = Some("path"),
    StorageUrl = Some("database"),
    String = None,
    ipnet::IpNet = Some("network"),
}

/// The JSON schema of a `T` that is written as a text: `#[schemars(with = "Text<PathBuf>")]`.
pub(super) struct Text<T>(std::marker::PhantomData<T>);

impl<T: Textual> JsonSchema for Text<T> {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        T::KIND.unwrap_or("text").into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        let mut schema = json_schema!({ "type": "string" });
        if let Some(kind) = T::KIND {
            schema.insert("x-kind".to_owned(), kind.into());
        }
        schema
    }
}
