//! `GET /admin`: the operators' page, built from `admin/` at the root of the repository. Its files hold no data: all it shows
//! comes from the service API, by the credential that its reader signs in with.

use super::{super::forms::PlainError, Reply, reply};

/// Scripts, styles, pictures and requests of this server's own, and nothing else.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; \
                      base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

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
    file("text/html; charset=utf-8", include_str!("built/index.html"))
}

/// What the page does.
pub(in crate::http) fn script() -> Reply {
    file(
        "text/javascript; charset=utf-8",
        include_str!("built/admin/app.js"),
    )
}

/// How the page looks.
pub(in crate::http) fn style() -> Reply {
    file("text/css; charset=utf-8", include_str!("built/admin/app.css"))
}

/// The logo.
pub(in crate::http) fn logo() -> Reply {
    file("image/svg+xml", include_str!("built/admin/app.svg"))
}

fn file(media_type: &'static str, text: &'static str) -> Reply {
    reply::embedded(media_type, POLICY, text)
}
