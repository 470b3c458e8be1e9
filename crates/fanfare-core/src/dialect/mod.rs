//! The port to client protocols.
//!
//! A [`DialectKind`] is a protocol before it is configured; [`DialectKind::open`] returns the configured [`Dialect`].
//! It has four sides: which clients may connect ([`Accept`]), the effect of their messages ([`Converse`]), the form of
//! events and closes ([`Render`]), and its routes and fields over HTTP ([`Respond`]). It has neither a socket nor a clock.
//! Most methods have a default, which is the behaviour of most protocols.

mod conversation;
mod handshake;
mod http;
mod kind;
mod listening;
mod registry;
mod render;
mod request;

pub use conversation::{
    Command, Context, Conversation, Converse, Draft, Message, Outcome, Receives, Reception, Resume, Right,
    Step, Steps, Token,
};
pub use handshake::{Accept, Offer, Opening, RefusalFacts, Rejection};
pub use http::{Call, Endpoint, HttpError, HttpReply, Plan, Respond};
pub use kind::DialectKind;
pub use listening::{ListenMessage, ListenPlan, Listening};
pub use registry::Registry;
pub use render::{Render, Rendering};
pub use request::{RequestHead, path_matches};

/// A configured client protocol.
pub trait Dialect: Accept + Converse + Render + Respond {}

impl<D: Accept + Converse + Render + Respond> Dialect for D {}
