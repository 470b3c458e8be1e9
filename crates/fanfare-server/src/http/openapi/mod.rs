//! The descriptions of this server: `/openapi.json` of its routes, `/asyncapi.json` of its dialects' messages, and `/docs`, a page that shows
//! both.
//!
//! `/openapi.json` is made from the types of the handlers' replies, and from each dialect's description of its own routes. Every listener
//! serves all of it. `x-dialects` names the dialects of the listener and of an operation; the page shows only those of the listener.

mod asyncapi;
mod base;
pub(super) mod page;
mod upgrades;

use fanfare_core::Registry;
use serde_json::{Value, json};
use utoipa::OpenApi;

use self::base::Base;
use super::{
    Site, accounts, admin, api, described,
    forms::{ApiError, FailedError, PlainError},
    health,
    merge::merged,
    messages, metrics,
    reply::{self, Reply},
    site::Documents,
};

/// The part of the WebSocket paths and of these descriptions.
#[derive(OpenApi)]
#[openapi(
    tags(
        (name = "WebSocket", description = "Where clients connect."),
        (name = "Descriptions", description = "Of this server, for programs and people."),
    ),
    paths(openapi, asyncapi, page::docs, page::admin)
)]
struct Descriptions;

/// Returns the description of the server's own routes.
fn groups() -> Value {
    let mut groups = Base::openapi();
    for group in [
        health::HealthApi::openapi(),
        metrics::MetricsApi::openapi(),
        api::described::<api::ServiceApi>(),
        api::described::<admin::OperatorsApi>(),
        accounts::described::<accounts::auth::AuthApi, FailedError<'_>>(),
        accounts::described::<accounts::sessions::SessionsApi, ApiError<'_>>(),
        described::described::<messages::MessagesApi, FailedError<'_>>(messages::REFUSALS, &[], &[]),
        Descriptions::openapi(),
    ] {
        groups.merge(group);
    }
    serde_json::to_value(groups).unwrap_or_default()
}

/// Returns both documents of a server with these dialects.
fn describe(registry: Registry) -> Documents {
    let asyncapi = asyncapi::document(registry);
    let own = registry
        .iter()
        .map(|kind| of_dialect((kind.openapi)(), kind.name));
    let upgrades = upgrades::routes(&asyncapi["channels"]);
    let mut openapi = merged([groups()].into_iter().chain(own).chain([upgrades]));
    openapi["info"]["summary"] = SUMMARY.into(); // utoipa knows no such field
    Documents { openapi, asyncapi }
}

/// Marks the operations of `part` with the dialect's name.
fn of_dialect(mut part: Value, name: &str) -> Value {
    // A dialect without routes has no such field, and must not get an empty one.
    let paths = part.get_mut("paths").and_then(Value::as_object_mut);
    let paths = paths.into_iter().flatten();
    let operations = paths.flat_map(|(_, methods)| methods.as_object_mut().into_iter().flatten());
    for (_, operation) in operations {
        operation["x-dialects"] = json!([name]);
    }
    part
}

const SUMMARY: &str = "A realtime server that delivers events to clients of several WebSocket protocols.";

/// This document.
#[utoipa::path(
    get,
    path = "/openapi.json",
    tag = "Descriptions",
    responses(
        (status = 200, description = "OpenAPI 3.1.", body = Object),
        (status = 401, description = "`api.docs` asks for a key, and none was sent.", body = PlainError<'static>),
        (status = 403, description = "The key does not have the scope `read`.", body = PlainError<'static>),
        (status = 404, description = "`api.docs` is `off`.", body = PlainError<'static>),
        (status = 429, description = "Too many requests.", body = PlainError<'static>),
    ),
)]
pub(super) fn openapi(site: &Site) -> Reply {
    let mut document = site.documents(describe).openapi.clone();
    let url = match &*site.options.prefix {
        "" => "/",
        prefix => prefix,
    };
    let dialects: Vec<_> = site.dialects.iter().map(|mounted| mounted.name).collect();
    document["servers"] = json!([{ "url": url, "description": "This listener.", "x-dialects": dialects }]);
    reply::ok(&document)
}

/// The messages of all dialects.
#[utoipa::path(
    get,
    path = "/asyncapi.json",
    tag = "Descriptions",
    responses(
        (status = 200, description = "AsyncAPI 3.0.", body = Object),
        (status = 401, description = "`api.docs` asks for a key, and none was sent.", body = PlainError<'static>),
        (status = 403, description = "The key does not have the scope `read`.", body = PlainError<'static>),
        (status = 404, description = "`api.docs` is `off`.", body = PlainError<'static>),
        (status = 429, description = "Too many requests.", body = PlainError<'static>),
    ),
)]
pub(super) fn asyncapi(site: &Site) -> Reply {
    reply::ok(&site.documents(describe).asyncapi)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use fanfare_core::Options;

    use super::*;
    use crate::http::routes::{Group, TABLE};

    fn documents() -> Documents {
        describe(fanfare_dialects::REGISTRY)
    }

    /// Calls `visit` for all objects in `value`, itself included.
    fn each(value: &Value, visit: &mut impl FnMut(&serde_json::Map<String, Value>)) {
        match value {
            Value::Object(object) => {
                visit(object);
                object.values().for_each(|value| each(value, visit));
            }
            Value::Array(list) => list.iter().for_each(|value| each(value, visit)),
            _ => {}
        }
    }

    #[test]
    fn every_reference_has_its_target() {
        let Documents { openapi, asyncapi } = documents();
        for document in [&openapi, &asyncapi] {
            each(document, &mut |object| {
                if let Some(Value::String(target)) = object.get("$ref") {
                    let found = target.strip_prefix('#').and_then(|path| document.pointer(path));
                    assert!(found.is_some(), "{target}");
                }
            });
        }
    }

    #[test]
    fn every_operation_has_its_own_name() {
        let mut names = BTreeSet::new();
        each(&documents().openapi["paths"], &mut |object| {
            if let Some(Value::String(name)) = object.get("operationId") {
                assert!(names.insert(name.clone()), "{name}");
            }
        });
        assert!(names.len() > 15, "{names:?}");
    }

    #[test]
    fn routes_and_descriptions_are_the_same() {
        let parts_of_the_page = [
            "/docs/page.js",
            "/docs/page.css",
            "/docs/page.svg",
            "/docs/",
            "/admin/",
            "/admin/app.js",
            "/admin/app.css",
            "/admin/app.svg",
        ];
        let routes = TABLE
            .iter()
            .filter(|route| !parts_of_the_page.contains(&route.path))
            .map(|route| (route.method.as_str().to_lowercase(), route.path.to_owned()));
        let (groups, openapi) = (groups(), documents().openapi);
        let described = groups["paths"]
            .as_object()
            .into_iter()
            .flatten()
            .flat_map(|(path, item)| {
                let methods = item.as_object().into_iter().flat_map(serde_json::Map::keys);
                methods.map(|method| (method.clone(), path.clone()))
            });
        assert_eq!(routes.collect::<BTreeSet<_>>(), described.collect());
        for route in TABLE.iter().filter(|route| route.group == Group::Service) {
            let operation = &openapi["paths"][route.path][route.method.as_str().to_lowercase()];
            let keys = operation["security"].as_array().into_iter().flatten();
            assert!(keys.clone().any(|way| way["apiKey"].is_array()), "{}", route.path);
        }
    }

    #[test]
    fn dialects_describe_their_routes_and_paths() {
        let Documents { openapi, asyncapi } = documents();
        for kind in fanfare_dialects::REGISTRY.iter() {
            let options = Options::default();
            assert!(
                kind.asyncapi.is_empty() || serde_json::from_str::<Value>(kind.asyncapi).is_ok(),
                "{}",
                kind.name
            );
            for endpoint in (kind.open)(&options).endpoints() {
                let operation = &openapi["paths"][endpoint.path][endpoint.method.to_lowercase()];
                assert!(operation.is_object(), "{} {}", endpoint.method, endpoint.path);
                assert_eq!(
                    operation["security"].is_array(),
                    endpoint.guarded,
                    "{}",
                    endpoint.path
                );
            }
            let channel = &asyncapi["channels"][kind.name];
            if !kind.asyncapi.is_empty() {
                assert_eq!(channel["address"], kind.path);
                assert!(openapi["paths"][kind.path]["get"].is_object(), "{}", kind.path);
            }
        }
    }
}
