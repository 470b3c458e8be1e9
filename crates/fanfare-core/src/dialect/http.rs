//! The port to a dialect's HTTP routes, whose handlers do no I/O, and to its fields on the server's routes.

use std::{borrow::Cow, time::SystemTime};

use bytes::Bytes;
use serde::Serialize;
use uuid::Uuid;

use crate::{BrokerHealth, DialectFacts, Event, Figure, JsonMap, NodeFacts, Receipt, Report, RequestHead};

/// Replies to HTTP requests for a dialect.
pub trait Respond: Send + Sync {
    /// Returns the protocol's fields on `GET /health`. `broker` was measured for this request.
    fn health(&self, _broker: &BrokerHealth, _node: &NodeFacts, _own: &DialectFacts) -> JsonMap {
        JsonMap::new()
    }

    /// Returns the protocol's fields on `GET /metrics`.
    fn metrics(&self, _node: &NodeFacts, _own: &DialectFacts) -> JsonMap {
        JsonMap::new()
    }

    /// Returns the protocol's figures among the Prometheus metrics.
    fn figures(&self, _node: &NodeFacts, _own: &DialectFacts) -> Vec<Figure> {
        Vec::new()
    }

    /// Returns the protocol's routes.
    fn endpoints(&self) -> &'static [Endpoint] {
        &[]
    }

    /// Returns the plan for a request to one of [`Respond::endpoints`].
    fn call(&self, call: &Call<'_>) -> Plan {
        Plan::Reply(self.fail(&call.error(404, "not found")))
    }

    /// Returns the reply to a failed request on its routes. The listener's first dialect does so for the server's routes.
    fn fail(&self, error: &HttpError<'_>) -> HttpReply {
        HttpReply::json(error.status, &serde_json::json!({ "error": error.message }))
    }
}

/// An HTTP route of a dialect, on each listener that serves the dialect.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Endpoint {
    /// `GET` (which also serves `HEAD`) or `POST`.
    pub method: &'static str,
    /// The path; `{name}` in it is any segment.
    pub path: &'static str,
    /// Whether the caller needs an API key, an admin's token, or a connection from this machine.
    pub guarded: bool,
}

/// A request to a dialect's route.
#[derive(Clone, Copy)]
pub struct Call<'a> {
    /// The [`Endpoint::path`] of the request.
    pub path: &'static str,
    /// The path's parameters, the query and the headers.
    pub head: RequestHead<'a>,
    /// The body.
    pub body: &'a Bytes,
    /// The time of the request's arrival.
    pub now: SystemTime,
    /// A fresh id for the reply.
    pub id: Uuid,
}

impl Call<'_> {
    /// Returns the error of this request.
    pub fn error<'a>(&self, status: u16, message: &'a str) -> HttpError<'a> {
        let (id, now) = (self.id, self.now);
        HttpError {
            status,
            message,
            id,
            now,
        }
    }
}

/// The actions of the server for a request.
pub enum Plan {
    /// Reply.
    Reply(HttpReply),
    /// Publish the event, then reply from the receipt.
    Publish(Box<Event>, Box<dyn FnOnce(Receipt) -> HttpReply + Send>),
    /// Reply from the server's figures.
    Report {
        /// Whether the report lists the dialect's connections, which visits each of them.
        connections: bool,
        /// Renders the reply.
        then: Box<dyn FnOnce(&Report) -> HttpReply + Send>,
    },
}

/// A reply with a JSON body.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HttpReply {
    /// The status code.
    pub status: u16,
    /// The body in JSON. As a text, it can repeat the bytes of a caller's value.
    pub body: Cow<'static, str>,
}

impl HttpReply {
    /// Returns a reply with this body. Its fields are sorted by name.
    pub fn json(status: u16, body: &impl Serialize) -> Self {
        // Structs and maps with string keys always serialize.
        let body = serde_json::to_value(body).unwrap_or_default().to_string().into();
        Self { status, body }
    }
}

/// The error of an HTTP request, which the dialect of the route renders.
#[derive(Debug, Clone, Copy)]
pub struct HttpError<'a> {
    /// The status code.
    pub status: u16,
    /// The error as a text for people.
    pub message: &'a str,
    /// A fresh id for the reply.
    pub id: Uuid,
    /// The time of the reply.
    pub now: SystemTime,
}
