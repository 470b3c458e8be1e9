//! The shared part of `/openapi.json`: its head, the ways to authenticate, and the forms of errors.

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
        let text = "The routes over HTTP. asyncapi.json has the messages over WebSockets.";
        let license = LicenseBuilder::new().name(env!("CARGO_PKG_LICENSE")).build();
        document.info = InfoBuilder::new()
            .title("Fanfare")
            .version(env!("CARGO_PKG_VERSION"))
            .description(Some(text))
            .license(Some(license))
            .build();
        let bearer = |description: &str| {
            let scheme = HttpBuilder::new().scheme(HttpAuthScheme::Bearer);
            scheme.description(Some(description))
        };
        let token = bearer("The token of a user; where an API key is asked for, of one with the role admin.");
        let key = bearer("An API key: one of the configured ones, or one with the scope that is needed.");
        let token = SecurityScheme::Http(token.bearer_format("JWT").build());
        let components = document.components.get_or_insert_default();
        components.add_security_scheme("bearer", token);
        components.add_security_scheme("apiKey", SecurityScheme::Http(key.build()));
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
