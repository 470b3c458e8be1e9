//! Adds the common parts of a group's operations to its description: the tag and the refusals.

use utoipa::{
    OpenApi, ToSchema,
    openapi::{
        self, ContentBuilder, Header, HeaderBuilder, ObjectBuilder, PathItem, Ref, Response, ResponseBuilder,
        Type, path::Operation,
    },
};

use super::reply;

/// Refusals that several operations share: status and description.
pub(super) type Refusals = &'static [(u16, &'static str)];

/// The refusals of every operation with a body.
const OF_BODIES: Refusals = &[
    (408, "The body did not arrive in time."),
    (413, "The body is too large."),
    (415, "The body is not JSON in UTF-8."),
];

/// Returns the description of the group `G`. Every operation gets the group's tag and the refusals `of_all`; with a credential also
/// `of_secured`, with a body also `of_bodies`. Their form is `E`. An operation's own description takes precedence.
pub(super) fn described<G: OpenApi, E: ToSchema>(
    of_all: Refusals,
    of_secured: Refusals,
    of_bodies: Refusals,
) -> openapi::OpenApi {
    let mut group = G::openapi();
    let tag = group
        .tags
        .iter()
        .flatten()
        .next()
        .map(|tag| vec![tag.name.clone()]);
    for operation in operations(&mut group) {
        operation.tags.clone_from(&tag);
        let of_secured = operation.security.as_ref().map(|_| of_secured);
        let of_bodies = operation
            .request_body
            .as_ref()
            .map(|_| [of_bodies, OF_BODIES].concat());
        let (of_secured, of_bodies) = (of_secured.unwrap_or_default(), of_bodies.unwrap_or_default());
        for (status, when) in of_all.iter().chain(of_secured).chain(&of_bodies) {
            let own = operation.responses.responses.entry(status.to_string());
            own.or_insert_with(|| refusal::<E>(*status, when).into());
        }
    }
    group
}

/// Returns the operations of a document.
pub(super) fn operations(document: &mut openapi::OpenApi) -> impl Iterator<Item = &mut Operation> {
    let items = document.paths.paths.values_mut();
    items.flat_map(|item| {
        let PathItem {
            get,
            post,
            patch,
            delete,
            ..
        } = item;
        [get, post, patch, delete].into_iter().flatten()
    })
}

fn refusal<E: ToSchema>(status: u16, when: &str) -> Response {
    let schema = Ref::from_schema_name(E::name());
    let content = ContentBuilder::new().schema(Some(schema)).build();
    let response = ResponseBuilder::new().description(when);
    let response = response.content(reply::JSON, content);
    let response = match status {
        401 => {
            let text = ObjectBuilder::new().schema_type(Type::String);
            response.header("WWW-Authenticate", HeaderBuilder::new().schema(text).build())
        }
        429 | 503 => response.header("Retry-After", seconds(status)),
        _ => response,
    };
    response.build()
}

fn seconds(status: u16) -> Header {
    let seconds = ObjectBuilder::new().schema_type(Type::Integer).minimum(Some(1));
    let sometimes = if status == 503 { ", if it is known" } else { "" };
    HeaderBuilder::new()
        .schema(seconds)
        .description(Some(format!("When to ask again, in seconds{sometimes}.")))
        .build()
}
