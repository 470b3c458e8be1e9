//! `echo`: sends every message back, for protocol test suites. It is mounted only if a listener names it.

use std::sync::Arc;

use bytes::Bytes;
use fanfare_core::{
    Accept, Context, Conversation, Converse, DialectKind, Offer, Receives, Reception, Refusal, RefusalFacts,
    Rejection, Render, Rendering, RequestHead, Respond, Step, Steps,
};

pub(crate) static KIND: DialectKind = DialectKind::new(
    "echo",
    "/echo",
    "Sends every message back. For protocol test suites; mounted only where a listener names it.",
    |_| Arc::new(Echo),
);

/// The dialect, which renders no event and has no routes.
struct Echo;

impl Accept for Echo {
    fn offer<'a>(&self, _: &RequestHead<'a>) -> Result<Offer<'a>, Refusal> {
        Ok(Offer::default())
    }

    fn refuse(&self, refusal: Refusal, _about: &RefusalFacts<'_>) -> Rejection {
        let status = match refusal {
            Refusal::MissingCredential | Refusal::BadCredential | Refusal::ExpiredCredential => 401,
            Refusal::Forbidden => 403,
            Refusal::BadName => 400,
            Refusal::NameTaken => 409,
            Refusal::RateLimited => 429,
            Refusal::KeysUnavailable
            | Refusal::AtCapacity
            | Refusal::AddressAtCapacity
            | Refusal::UserAtCapacity
            | Refusal::ShuttingDown => 503,
        };
        Rejection::http(status, "")
    }
}

impl Converse for Echo {
    fn converse(&self, _name: Option<&str>) -> Box<dyn Conversation> {
        Box::new(Client)
    }

    fn receives(&self) -> Reception {
        Reception::both(Receives::Never)
    }
}

impl Render for Echo {}

impl Respond for Echo {}

struct Client;

impl Conversation for Client {
    fn text(&mut self, text: &str, _context: &Context<'_>, steps: &mut Steps) {
        steps.push(Step::text(text.to_owned()));
    }

    fn binary(&mut self, bytes: &[u8], _context: &Context<'_>, steps: &mut Steps) {
        steps.push(Step::Send(Rendering::Binary(Bytes::copy_from_slice(bytes))));
    }
}
