//! The routes of accounts: registrations, logins, and sessions.
//!
//! There are two families of routes, for the clients of two protocols. They share their work and their failures ([`Failure`]); the names
//! of fields and the forms of errors differ.

pub(super) mod auth;
mod failure;
mod fields;
pub(super) mod sessions;

#[cfg(test)]
mod tests;

use std::{net::IpAddr, sync::Arc};

use fanfare_accounts::{AccountError, Accounts, Login};
use fanfare_core::Identity;
use http::{HeaderMap, header};
use utoipa::{OpenApi, ToSchema, openapi};

pub(super) use self::failure::Failure;
use self::fields::Fields;
use super::{
    Site,
    body::{self, RequestBody},
    call::RouteCall,
    caller,
    described::{self, Refusals},
    reply::Reply,
};
use crate::auth::TokenError;

/// The refusals of a route with an access token.
const OF_TOKENS: Refusals = &[
    (401, "The token is missing or invalid."),
    (429, "Too many requests."),
    (500, "A fault of the server's."),
    (503, "The server is stopping, or the database is unavailable."),
];

/// The refusals of a route with a body.
const OF_BODIES: Refusals = &[
    (400, "The body is invalid."),
    (403, "This server issues no tokens."),
    (429, "Too many requests, or too many bad logins."),
    (500, "A fault of the server's."),
    (503, "The server is stopping, or the database is unavailable."),
];

/// Returns the description of the family `G`, whose errors have the form of `E`.
pub(super) fn described<G: OpenApi, E: ToSchema>() -> openapi::OpenApi {
    described::described::<G, E>(&[], OF_TOKENS, OF_BODIES)
}

/// The longest body, in bytes: far longer than a valid one, so that a password that is too long gets its own error.
const MAX_BODY: usize = 2 << 20;

/// A family of routes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Family {
    /// `/api/auth/…`
    Auth,
    /// `/sessions…`
    Sessions,
    /// `/api/messages`
    Messages,
}

impl Family {
    /// Replies with the result of `handling`.
    pub(super) async fn answer(self, handling: impl Future<Output = Result<Reply, Failure>>) -> Reply {
        handling.await.unwrap_or_else(|failure| self.failed(&failure))
    }

    pub(super) fn failed(self, failure: &Failure) -> Reply {
        let reply = match self {
            Self::Auth | Self::Messages => auth::failed(failure),
            Self::Sessions => sessions::failed(failure),
        };
        failure.with_headers(reply)
    }
}

/// Returns the fields of a body, whatever its `Content-Type`.
async fn read(sent: RequestBody, site: &Site) -> Result<Fields, Failure> {
    let body = body::read_within(MAX_BODY, sent, site).await?;
    match Fields::parse(&body.bytes) {
        Some(fields) => Ok(fields),
        None => Err(body.explain(Failure::NotAnObject).await),
    }
}

/// Logs in the user whose name is in the field `name`.
async fn log_in(name: &'static str, call: RouteCall<'_>) -> Result<Login, Failure> {
    let client = call.client;
    let fields = read(call.body, call.site).await?;
    let (email, password) = (fields.text(name)?, fields.text("password")?);
    let (accounts, user_agent) = (&call.site.options.accounts, user_agent(&call.head.headers));
    let login = accounts.login(email, password, Some(client), user_agent).await;
    Ok(login.inspect_err(|error| note_refusal(error, client))?)
}

/// Logs a failed login. Each one has its line, because programs such as fail2ban count them by address.
fn note_refusal(error: &AccountError, client: IpAddr) {
    let reason = match error {
        AccountError::BadCredentials => "bad_credentials",
        AccountError::TooManyAttempts { .. } => "too_many_attempts",
        _ => return,
    };
    tracing::info!(peer = %client, reason, "login refused");
}

fn user_agent(headers: &HeaderMap) -> Option<&str> {
    headers.get(header::USER_AGENT)?.to_str().ok()
}

/// Verifies the access token of a request.
pub(super) async fn authenticate(headers: &HeaderMap, site: &Site) -> Result<Arc<Identity>, Failure> {
    let token = caller::bearer(headers).ok_or(Failure::NoToken)?;
    let identified = site.gate.identify(token).await;
    identified.map_err(|error| {
        caller::log_refusal(site, "bad_credential", &error, None);
        match error {
            TokenError::KeysUnavailable => Failure::KeysUnavailable,
            error => Failure::BadToken(error),
        }
    })
}

/// Ends the session of the access token.
async fn end_own_session(identity: &Identity, site: &Arc<Site>) -> Result<(), Failure> {
    let own = identity.session.as_deref();
    end_session(own.ok_or(AccountError::NotFound("session"))?, site).await
}

/// Ends a session, with its connections on every node.
async fn end_session(id: &str, site: &Arc<Site>) -> Result<(), Failure> {
    let id = id.to_owned();
    end_sessions(site, move |accounts| async move {
        accounts.terminate(&id).await?;
        Ok(vec![id])
    })
    .await
}

/// Runs `work`, which returns the sessions that it has ended, and closes their connections on every node. It runs in a task: if the
/// caller disconnects, every node must still receive the end of the sessions.
async fn end_sessions<F>(
    site: &Arc<Site>,
    work: impl FnOnce(Accounts) -> F + Send + 'static,
) -> Result<(), Failure>
where
    F: Future<Output = Result<Vec<String>, AccountError>> + Send,
{
    let site = site.clone();
    let task = tokio::spawn(async move {
        for ended in work(site.options.accounts.clone()).await? {
            site.node.terminate_session(&ended);
        }
        Ok::<_, AccountError>(())
    });
    let done = task.await;
    done.unwrap_or_else(|_| Err(AccountError::fault("a task that ends sessions panicked")))?;
    Ok(())
}
