//! The forms of replies that several routes share: three for errors, one for a success. `/openapi.json` is made from them.

use serde::{Serialize, Serializer};
use serde_json::{Map, Value};
use utoipa::{
    ToSchema,
    openapi::{ObjectBuilder, RefOr, Schema, Type},
};

/// An error of a probe, of a page, or at an unknown path.
#[derive(Serialize, ToSchema)]
pub(super) struct PlainError<'a> {
    pub(super) error: &'a str,
}

/// An error with a stable code for programs and a message for people.
#[derive(Serialize, ToSchema)]
pub(super) struct ApiError<'a> {
    #[schema(inline)]
    pub(super) error: Coded<'a>,
}

/// The problem.
#[derive(Serialize, ToSchema)]
pub(super) struct Coded<'a> {
    /// For programs.
    pub(super) code: &'a str,
    /// For people.
    pub(super) message: &'a str,
    #[schema(value_type = Object)]
    pub(super) details: Map<String, Value>,
}

/// An error in the form of the accounts' and the messages' routes.
#[derive(Serialize, ToSchema)]
pub(super) struct FailedError<'a> {
    #[schema(inline)]
    pub(super) success: Always<false>,
    pub(super) error: &'a str,
    /// The problem with a field.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(inline, nullable = false)]
    pub(super) details: Option<BadField<'a>>,
}

/// A field with an invalid value.
#[derive(Serialize, ToSchema)]
pub(super) struct BadField<'a> {
    pub(super) field: &'a str,
    pub(super) issue: &'a str,
}

/// A success in the form of the accounts' and the messages' routes.
#[derive(Serialize, ToSchema)]
pub(super) struct Success<T> {
    #[schema(inline)]
    success: Always<true>,
    data: T,
}

impl<T> Success<T> {
    pub(super) fn of(data: T) -> Self {
        Self {
            success: Always,
            data,
        }
    }
}

/// A flag that has the same value in every reply.
#[derive(Debug, Clone, Copy)]
pub(super) struct Always<const VALUE: bool>;

impl<const VALUE: bool> Serialize for Always<VALUE> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_bool(VALUE)
    }
}

impl<const VALUE: bool> utoipa::PartialSchema for Always<VALUE> {
    fn schema() -> RefOr<Schema> {
        ObjectBuilder::new()
            .schema_type(Type::Boolean)
            .enum_values(Some([VALUE]))
            .into()
    }
}

impl<const VALUE: bool> ToSchema for Always<VALUE> {}
