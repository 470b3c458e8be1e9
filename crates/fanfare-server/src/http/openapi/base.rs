//! The shared part of the document: its head, the ways to authenticate, and the forms of errors.

use utoipa::{
    Modify, OpenApi, ToSchema,
    openapi::{
        self, InfoBuilder, LicenseBuilder, Ref, RefOr, Schema,
        schema::AnyOfBuilder,
        security::{HttpAuthScheme, HttpBuilder, SecurityScheme},
    },
};

use crate::http::forms::{ApiError, FailedError, PlainError};

/// The document without any group of routes.
#[derive(OpenApi)]
#[openapi(
    components(schemas(PlainError<'static>, ApiError<'static>, FailedError<'static>, UpgradeError)),
    modifiers(&Head)
)]
pub(super) struct Base;

struct Head;

impl Modify for Head {
    fn modify(&self, document: &mut openapi::OpenApi) {
        document.info = InfoBuilder::new()
            .title("Fanfare")
            .version(env!("CARGO_PKG_VERSION"))
            .description(Some(
                "The routes over HTTP. asyncapi.json has the messages over WebSockets.",
            ))
            .license(Some(
                LicenseBuilder::new().name(env!("CARGO_PKG_LICENSE")).build(),
            ))
            .build();
        let bearer = |format: Option<&str>, description: &str| {
            let mut scheme = HttpBuilder::new()
                .scheme(HttpAuthScheme::Bearer)
                .description(Some(description));
            if let Some(format) = format {
                scheme = scheme.bearer_format(format);
            }
            SecurityScheme::Http(scheme.build())
        };
        let components = document.components.get_or_insert_default();
        components.add_security_scheme(
            "bearer",
            bearer(
                Some("JWT"),
                "The token of a user; where an API key is asked for, of one with the role admin.",
            ),
        );
        components.add_security_scheme(
            "apiKey",
            bearer(
                None,
                "An API key: one of the configured ones, or one with the scope that is needed.",
            ),
        );
    }
}

/// A refused upgrade; dialects add their forms.
struct UpgradeError;

impl utoipa::PartialSchema for UpgradeError {
    fn schema() -> RefOr<Schema> {
        AnyOfBuilder::new()
            .description(Some("In the form of the dialect that was asked for."))
            .item(Ref::from_schema_name(PlainError::name()))
            .into()
    }
}

impl ToSchema for UpgradeError {}
