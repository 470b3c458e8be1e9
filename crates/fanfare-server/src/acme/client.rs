//! Requests to the authority, by the HTTP client that the other parts use.

use std::{
    error::Error as StdError,
    path::Path,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    time::Duration,
};

use bytes::Bytes;
use http::{HeaderValue, Request, Response, header};
use http_body_util::BodyExt as _;
use instant_acme::{BodyWrapper, BytesResponse, Error, HttpClient};
use reqwest::{Certificate, Client};

use crate::outbound;

/// The longest time for one request.
const TIMEOUT: Duration = Duration::from_secs(30);
/// The longest response: a certificate chain has some thousand bytes.
const MAX_BYTES: usize = 1 << 20;
const MAX_RETRY_AFTER: u64 = 24 * 3600;

/// The HTTP client, and the authority's last `Retry-After`, in seconds.
#[derive(Clone)]
pub(super) struct AuthorityClient {
    client: Client,
    retry_after: Arc<AtomicU64>,
}

impl AuthorityClient {
    /// Returns a client that trusts the authorities in `ca_file` for TLS; without a file, those of the system.
    pub(super) fn new(ca_file: Option<&Path>) -> Result<Self, String> {
        let mut builder = outbound::client()
            .timeout(TIMEOUT)
            .https_only(true)
            .redirect(reqwest::redirect::Policy::none());
        if let Some(file) = ca_file {
            let pem = std::fs::read(file).map_err(|error| error.to_string())?;
            let roots = Certificate::from_pem_bundle(&pem).map_err(|error| error.to_string())?;
            if roots.is_empty() {
                return Err("no CERTIFICATE in it".to_owned());
            }
            builder = builder.tls_certs_only(roots);
        }
        let client = builder.build().map_err(|error| error.to_string())?;
        let retry_after = Arc::default();
        Ok(Self { client, retry_after })
    }

    /// Returns the pause that the last refusal asked for, and forgets it.
    pub(super) fn take_retry_after(&self) -> Duration {
        Duration::from_secs(self.retry_after.swap(0, Relaxed))
    }

    async fn send(self, request: Request<BodyWrapper<Bytes>>) -> Result<BytesResponse, Error> {
        let (parts, body) = request.into_parts();
        let body = body.collect().await.map_err(other)?.to_bytes();
        let url = parts.uri.to_string();
        let request = self.client.request(parts.method, &url).headers(parts.headers);
        let mut response = request.body(body).send().await.map_err(other)?;
        let status = response.status();
        if status.is_client_error() || status.is_server_error() {
            self.note_retry_after(response.headers());
            if !has_json(response.headers()) {
                return Err(other(format!("{url} answers {status}")));
            }
        } else if status.is_redirection() {
            return Err(other(format!("{url} answers {status}, which is not followed")));
        }
        let content = outbound::body(&mut response, MAX_BYTES).await.map_err(other)?;
        let content = content.ok_or_else(|| other(format!("{url} answers more than {MAX_BYTES} bytes")))?;
        let (parts, _) = Response::from(response).into_parts();
        Ok(BytesResponse {
            parts,
            body: Box::new(Bytes::from(content)),
        })
    }

    fn note_retry_after(&self, headers: &http::HeaderMap) {
        let text = headers.get(header::RETRY_AFTER).map(HeaderValue::to_str);
        if let Some(Ok(text)) = text
            && let Ok(seconds) = text.trim().parse::<u64>()
        {
            self.retry_after.store(seconds.min(MAX_RETRY_AFTER), Relaxed);
        }
    }
}

impl HttpClient for AuthorityClient {
    fn request(
        &self,
        request: Request<BodyWrapper<Bytes>>,
    ) -> Pin<Box<dyn Future<Output = Result<BytesResponse, Error>> + Send>> {
        Box::pin(self.clone().send(request))
    }
}

fn has_json(headers: &http::HeaderMap) -> bool {
    let kind = headers.get(header::CONTENT_TYPE).map(HeaderValue::to_str);
    kind.is_some_and(|kind| kind.is_ok_and(|kind| kind.contains("json")))
}

fn other(error: impl Into<Box<dyn StdError + Send + Sync>>) -> Error {
    Error::Other(error.into())
}
