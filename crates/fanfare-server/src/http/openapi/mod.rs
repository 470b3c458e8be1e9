//! What describes this server: `/openapi.json` its routes, `/asyncapi.json` the messages of its dialects, `/docs` both
//! as a page. A file for each group of routes, and each dialect's own; here they are put together. Every listener shows
//! all of them, since a reader looks for what there is, not for where it is.

mod asyncapi;
mod merge;
mod page;
mod upgrades;

use std::sync::LazyLock;

use http::StatusCode;
use serde_json::{Value, json};

use self::merge::merged;
use super::{
    Site,
    reply::{self, Reply},
};

/// A file for each group of routes.
const GROUPS: &[&str] = &[
    include_str!("base.json"),
    include_str!("probes.json"),
    include_str!("service.json"),
    include_str!("accounts.json"),
    include_str!("sessions.json"),
    include_str!("messages.json"),
    include_str!("descriptions.json"),
];

static DOCUMENT: LazyLock<Value> = LazyLock::new(|| {
    let own = fanfare_dialects::ALL.iter().map(|kind| kind.describe().openapi);
    let mut document = merged(GROUPS.iter().copied().chain(own));
    merge::merge(&mut document, upgrades::routes(&asyncapi::DOCUMENT["channels"]));
    document["info"]["version"] = env!("CARGO_PKG_VERSION").into();
    document
});

/// What answers at `path`.
pub(super) fn find(path: &str) -> Option<fn(&Site) -> Reply> {
    match path {
        "/openapi.json" => Some(openapi),
        "/asyncapi.json" => Some(|_| reply::json(StatusCode::OK, &*asyncapi::DOCUMENT)),
        _ => page::find(path),
    }
}

fn openapi(site: &Site) -> Reply {
    let mut document = DOCUMENT.clone();
    let url = match &*site.options.prefix {
        "" => "/",
        prefix => prefix,
    };
    document["servers"] = json!([{ "url": url, "description": "This listener." }]);
    reply::json(StatusCode::OK, &document)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use fanfare_core::Options;

    use super::*;

    /// All objects within `value`, itself included.
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
    fn references_lead_somewhere() {
        for document in [&*DOCUMENT, &*asyncapi::DOCUMENT] {
            each(document, &mut |object| {
                if let Some(Value::String(target)) = object.get("$ref") {
                    let found = target.strip_prefix('#').and_then(|path| document.pointer(path));
                    assert!(found.is_some(), "{target}");
                }
            });
        }
    }

    #[test]
    fn operations_have_names_of_their_own() {
        let mut names = BTreeSet::new();
        each(&DOCUMENT["paths"], &mut |object| {
            if let Some(Value::String(name)) = object.get("operationId") {
                assert!(names.insert(name.clone()), "{name}");
            }
        });
        assert!(names.len() > 15, "{names:?}");
    }

    #[test]
    fn dialects_describe_their_routes_and_paths() {
        for kind in fanfare_dialects::ALL {
            let (described, options) = (kind.describe(), Options::defaults(kind.defaults().options));
            for part in [described.openapi, described.asyncapi] {
                assert!(
                    part.is_empty() || serde_json::from_str::<Value>(part).is_ok(),
                    "{}",
                    kind.name()
                );
            }
            for endpoint in kind.open(&options).endpoints() {
                let operation = &DOCUMENT["paths"][endpoint.path][endpoint.method.to_lowercase()];
                assert!(operation.is_object(), "{} {}", endpoint.method, endpoint.path);
                assert_eq!(
                    operation["security"].is_array(),
                    endpoint.guarded,
                    "{}",
                    endpoint.path
                );
            }
            let channel = &asyncapi::DOCUMENT["channels"][kind.name()];
            if !described.asyncapi.is_empty() {
                assert_eq!(channel["address"], kind.path());
                assert!(
                    DOCUMENT["paths"][kind.path()]["get"].is_object(),
                    "{}",
                    kind.path()
                );
            }
        }
    }
}
