//! `GET /docs` and `GET /admin`: pages that are built from `admin/` at the root of the repository. They load nothing from other servers, and
//! contain no data: their reader's browser requests it from the service API.

use super::{
    super::forms::PlainError,
    reply::{self, Reply},
};

/// The routes and messages of this listener, as a page.
#[utoipa::path(
    get,
    path = "/docs",
    tag = "Descriptions",
    responses(
        (
            status = 200,
            description = "The page. It loads nothing from other servers.",
            body = String,
            content_type = "text/html",
        ),
        (status = 401, description = "`api.docs` asks for a key, and none was sent.", body = PlainError<'static>),
        (status = 403, description = "The key does not have the scope `read`.", body = PlainError<'static>),
        (status = 404, description = "`api.docs` is `off`.", body = PlainError<'static>),
        (status = 429, description = "Too many requests.", body = PlainError<'static>),
    ),
)]
pub(in crate::http) fn docs() -> Reply {
    reply::embedded(reply::HTML, include_str!("built/docs.html"))
}

/// The page for operators.
#[utoipa::path(
    get,
    path = "/admin",
    operation_id = "page",
    tag = "Operations",
    responses(
        (
            status = 200,
            description = "The page. It loads nothing from other servers.",
            body = String,
            content_type = "text/html",
        ),
        (status = 401, description = "`api.admin` asks for a key, and none was sent.", body = PlainError<'static>),
        (status = 403, description = "The key does not have the scope `read`.", body = PlainError<'static>),
        (status = 404, description = "`api.admin` is `off`.", body = PlainError<'static>),
        (status = 429, description = "Too many requests.", body = PlainError<'static>),
    ),
)]
pub(in crate::http) fn admin() -> Reply {
    reply::embedded(reply::HTML, include_str!("../admin/built/index.html"))
}
