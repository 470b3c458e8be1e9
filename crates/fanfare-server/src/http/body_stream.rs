//! The response without an end: a client of a dialect that streams becomes a connection of the engine, which writes the body.

use bytes::Bytes;
use fanfare_engine::{MountedDialect, Seat};
use http::{Method, StatusCode, header, request::Parts};

use super::{
    hand_over,
    reply::{self, Reply},
    reply_body::ReplyBody,
};

/// Begins the conversation of `seat`, and answers the client by what it says.
pub(super) async fn begin(mut seat: Seat, head: &Parts, mounted: &MountedDialect, form: u8) -> Reply {
    if let Err((status, message)) = seat.begin().await {
        let status = StatusCode::from_u16(status).unwrap_or(StatusCode::FORBIDDEN);
        return challenged(reply::failed(mounted, status, &message));
    }
    let mut reply = if head.method == Method::HEAD {
        Reply::default()
    } else {
        Reply::new(ReplyBody::endless(hand_over::to(seat)))
    };
    let types = mounted.dialect.media_types();
    let media_type = types[usize::from(form) % types.len()];
    reply = reply::with(reply, header::CONTENT_TYPE, media_type);
    reply = reply::with(reply, header::CACHE_CONTROL, "no-store");
    reply = reply::with(reply, header::CONNECTION, "close");
    reply::ungathered(reply)
}

/// Returns a stream that has ended already, in its dialect's first form.
pub(super) fn whole(mounted: &MountedDialect, body: Bytes) -> Reply {
    let [media_type, _] = mounted.dialect.media_types();
    reply::text(StatusCode::OK, media_type, body)
}

/// Adds what a reply of its status must have.
pub(super) fn challenged(reply: Reply) -> Reply {
    match reply.status() {
        StatusCode::UNAUTHORIZED => reply::challenge(reply),
        StatusCode::SERVICE_UNAVAILABLE => reply::later(reply),
        _ => reply,
    }
}
