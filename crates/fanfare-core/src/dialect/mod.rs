//! The port to client protocols.
//!
//! A [`DialectKind`] is a protocol before it is configured; [`DialectKind::open`] returns the configured [`Dialect`].
//! A dialect has four sides, each a trait that a file of its folder implements:
//!
//! | trait | file | decides |
//! |---|---|---|
//! | [`Accept`] | `handshake.rs` | which clients may connect, and the form of a refusal |
//! | [`Converse`] | `conversation.rs` | the effect of one connection's messages, in its [`Conversation`] |
//! | [`Render`] | `render.rs` | the form of events, notices and closes |
//! | [`Respond`] | `http.rs` | its own routes, and its fields on the server's |
//!
//! A dialect is pure: it has no socket and no clock. Most methods have a default, which is the behaviour of most
//! protocols.

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
pub use handshake::{About, Accept, Offer, Opening, Rejection};
pub use http::{Call, Endpoint, HttpError, HttpReply, Plan, Respond};
pub use kind::{Description, DialectDefaults, DialectKind};
pub use listening::{ListenMessage, ListenPlan, Listening};
pub use registry::Registry;
pub use render::{Render, Rendering};
pub use request::{RequestHead, path_matches};

/// A configured client protocol: all four sides of it.
pub trait Dialect: Accept + Converse + Render + Respond {}

impl<D: Accept + Converse + Render + Respond> Dialect for D {}
