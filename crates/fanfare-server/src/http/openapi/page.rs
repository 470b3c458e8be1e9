//! `GET /docs`: both documents as a page that sends requests and speaks each dialect, built from `admin/` at the root of the
//! repository. It loads nothing from elsewhere, so it works without an internet connection.

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
