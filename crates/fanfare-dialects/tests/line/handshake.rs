//! The handshake: the application is in the path, and a token may be in the query or a header.

use std::borrow::Cow;

use fanfare_core::{Accept, Offer, Refusal, RefusalFacts, Rejection, RequestHead};

use super::Line;

impl Accept for Line {
    fn offer<'a>(&self, head: &RequestHead<'a>) -> Result<Offer<'a>, Refusal> {
        if !self.has_app(head.path_parameter("app")) {
            return Err(Refusal::Forbidden);
        }
        Offer::of_one([head.credential("token")?, head.bearer()?.map(Cow::Borrowed)])
    }

    fn refuse(&self, refusal: Refusal, _about: &RefusalFacts<'_>) -> Rejection {
        Rejection::close(4000, refusal.label())
    }
}
