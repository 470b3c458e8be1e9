//! A dialect's HTTP side: its own routes, as plans without I/O, and its fields on the server's routes.

use std::{borrow::Cow, time::SystemTime};

use bytes::Bytes;
use serde::Serialize;
use uuid::Uuid;

use crate::{BrokerHealth, DialectFacts, Event, Figure, JsonMap, NodeFacts, Receipt, Report, RequestHead};

/// Serves a dialect's HTTP requests.
pub trait Respond: Send + Sync {
    /// Returns the fields that the protocol's document promises on `GET /health`; `broker` was measured for this
    /// request.
    fn health(&self, _broker: &BrokerHealth, _node: &NodeFacts, _own: &DialectFacts) -> JsonMap {
        JsonMap::new()
    }

    /// Returns the fields that the protocol's document promises on `GET /metrics`.
    fn metrics(&self, _node: &NodeFacts, _own: &DialectFacts) -> JsonMap {
        JsonMap::new()
    }

    /// Returns the figures that the protocol's document promises among the Prometheus metrics.
    fn figures(&self, _node: &NodeFacts, _own: &DialectFacts) -> Vec<Figure> {
        Vec::new()
    }

    /// Returns the protocol's own routes.
    fn endpoints(&self) -> &'static [Endpoint] {
        &[]
    }

    /// Plans the reply to a request to one of [`Respond::endpoints`].
    fn call(&self, call: &Call<'_>) -> Plan {
        Plan::Reply(self.fail(&call.error(404, "not found")))
    }

    /// Returns the reply to a failed request on its routes, and on the server's if it is the listener's first dialect.
    fn fail(&self, error: &HttpError<'_>) -> HttpReply {
        HttpReply::json(error.status, &serde_json::json!({ "error": error.message }))
    }
}

/// An HTTP route of a dialect. It is served on each listener that serves the dialect.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Endpoint {
    /// `GET` (which also serves `HEAD`) or `POST`.
    pub method: &'static str,
    /// The path; `{name}` in it stands for any one segment.
    pub path: &'static str,
    /// Whether the caller needs an API key, an admin's token, or a connection from this machine.
    pub guarded: bool,
}

/// A request to a dialect's route.
#[derive(Clone, Copy)]
pub struct Call<'a> {
    /// The [`Endpoint::path`] that was called, its parameters by their names.
    pub path: &'static str,
    /// The path's parameters, the query and the headers.
    pub head: RequestHead<'a>,
    /// The body, within the size limit.
    pub body: &'a Bytes,
    /// When the request arrived.
    pub now: SystemTime,
    /// A fresh id for this request's answer.
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

/// The server's actions to answer a request.
pub enum Plan {
    /// Reply.
    Reply(HttpReply),
    /// Publish the event, then reply from the receipt.
    Publish(Box<Event>, Box<dyn FnOnce(Receipt) -> HttpReply + Send>),
    /// Reply from the server's figures.
    Report {
        /// Whether the report lists the dialect's connections, which takes a walk over all of them.
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
    /// The body, which is JSON: text, so that a reply can repeat a caller's value as it was written.
    pub body: Cow<'static, str>,
}

impl HttpReply {
    /// Returns a reply with this body, its fields sorted by name.
    pub fn json(status: u16, body: &impl Serialize) -> Self {
        // Bodies are structs and maps with string keys, so this cannot fail.
        let body = serde_json::to_value(body).unwrap_or_default().to_string().into();
        Self { status, body }
    }
}

/// A failed HTTP request. The dialect of the route renders it.
#[derive(Debug, Clone, Copy)]
pub struct HttpError<'a> {
    /// The status code.
    pub status: u16,
    /// The problem, as a text for people.
    pub message: &'a str,
    /// A fresh id for the answer.
    pub id: Uuid,
    /// The time of the answer.
    pub now: SystemTime,
}
