//! `GET /admin`: the operators' page, built from `admin/` at the root of the repository. Its files hold no data: all it shows
//! comes from the service API, by the credential that its reader signs in with.

use super::{super::forms::PlainError, Reply, reply};

/// The page for operators.
#[utoipa::path(
    get,
    path = "/admin",
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
pub(in crate::http) fn page() -> Reply {
    reply::embedded(reply::HTML, include_str!("built/index.html"))
}
