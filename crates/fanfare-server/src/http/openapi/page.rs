//! `GET /docs`: both documents as a page that sends requests and speaks each dialect, built from `admin/` at the root of the
//! repository. It loads nothing from elsewhere, so it works without an internet connection.

use super::{
    super::forms::PlainError,
    reply::{self, Reply},
};

/// Allows scripts, styles, pictures and requests of this server, and nothing else. `connect-src` covers its `ws:` addresses.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; \
                      base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

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
    file("text/html; charset=utf-8", include_str!("built/docs.html"))
}

/// The page's script.
pub(in crate::http) fn script() -> Reply {
    file(
        "text/javascript; charset=utf-8",
        include_str!("built/docs/page.js"),
    )
}

/// The page's style.
pub(in crate::http) fn style() -> Reply {
    file("text/css; charset=utf-8", include_str!("built/docs/page.css"))
}

/// The logo.
pub(in crate::http) fn logo() -> Reply {
    file("image/svg+xml", include_str!("built/docs/page.svg"))
}

fn file(media_type: &'static str, text: &'static str) -> Reply {
    reply::embedded(media_type, POLICY, text)
}
