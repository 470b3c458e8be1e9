//! Requests to other services: the authorizer, key sets, the ACME authority, the collector.

use reqwest::{Client, ClientBuilder, Response};

/// Returns the builder of a client that sends this server's name and version.
pub(crate) fn client() -> ClientBuilder {
    Client::builder().user_agent(concat!("fanfare/", env!("CARGO_PKG_VERSION")))
}

/// Reads the body of `response`; returns `None` if it is longer than `most` bytes.
pub(crate) async fn body(response: &mut Response, most: usize) -> reqwest::Result<Option<Vec<u8>>> {
    let mut body = Vec::new();
    while let Some(chunk) = response.chunk().await? {
        if body.len() + chunk.len() > most {
            return Ok(None);
        }
        body.extend_from_slice(&chunk);
    }
    Ok(Some(body))
}
