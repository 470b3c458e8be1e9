//! `/sessions`: logins for programs; errors are `{"error":{"code","message","details"}}`.

use std::{net::IpAddr, sync::Arc};

use fanfare_core::ADMIN_ROLE;
use http::{HeaderMap, Method, Request, StatusCode, request::Parts};
use hyper::body::Incoming;
use serde_json::{Map, Value, json};

use super::{
    super::{
        Site,
        api::query::Query,
        reply::{self, Reply},
    },
    Failure, Fields,
};
use crate::{
    accounts::{AccountError, Login},
    auth::TokenError,
    storage::{Session, StorageError},
};

#[derive(Clone, Copy)]
enum Route<'a> {
    All,
    Refresh,
    One(&'a str),
}

impl<'a> Route<'a> {
    fn find(path: &'a str) -> Option<Self> {
        match path.strip_prefix("/sessions")? {
            "" => Some(Self::All),
            "/refresh" => Some(Self::Refresh),
            rest => rest
                .strip_prefix('/')
                .filter(|id| !id.is_empty() && !id.contains('/'))
                .map(Self::One),
        }
    }

    fn methods(self) -> &'static [Method] {
        match self {
            Self::All => &[Method::GET, Method::HEAD, Method::POST],
            Self::Refresh => &[Method::POST],
            Self::One(_) => &[Method::DELETE],
        }
    }
}

pub(super) async fn answer(
    path: &str,
    request: Request<Incoming>,
    peer: IpAddr,
    site: &Arc<Site>,
) -> Result<Reply, Failure> {
    let route = Route::find(path).ok_or(Failure::NoRoute)?;
    super::admit(site, request.method(), route.methods())?;
    let (head, sent) = request.into_parts();
    let headers = &head.headers;
    let answer = match route {
        Route::All if head.method != Method::POST => list(&head, site).await?,
        Route::All => {
            let fields = super::read(sent, site).await?;
            let client = site.client(peer, headers);
            logged_in(&super::log_in("username", &fields, client, headers, site).await?)
        }
        Route::Refresh => refresh(&super::read(sent, site).await?, site).await?,
        Route::One(id) => {
            end(id, headers, site).await?;
            return Ok(reply::text(StatusCode::NO_CONTENT, "", ""));
        }
    };
    Ok(reply::json(StatusCode::OK, &answer))
}

pub(super) fn failed(failure: &Failure) -> Reply {
    let details: Map<String, Value> = failure
        .details()
        .map(|(field, issue)| (field.to_owned(), issue.into()))
        .into_iter()
        .collect();
    let error = json!({ "code": code(failure), "message": failure.message(), "details": details });
    reply::json(failure.status(), &json!({ "error": error }))
}

/// For programs. There is one code for all that is better later.
fn code(failure: &Failure) -> &'static str {
    match failure {
        Failure::NoRoute => "NOT_FOUND",
        Failure::WrongMethod(_) => "METHOD_NOT_ALLOWED",
        Failure::Draining => "SERVER_FULL",
        Failure::TooManyRequests => "RATE_LIMITED",
        Failure::Unread(_) | Failure::NotAnObject => "INVALID_REQUEST",
        Failure::BadToken(TokenError::Expired) => "TOKEN_EXPIRED",
        Failure::NoToken | Failure::BadToken(_) => "INVALID_TOKEN",
        Failure::NotYours | Failure::NotAdmin => "FORBIDDEN",
        Failure::Account(error) => match error {
            AccountError::Bad { .. } | AccountError::Taken => "INVALID_REQUEST",
            AccountError::Closed | AccountError::NotIssuing => "FORBIDDEN",
            AccountError::BadCredentials => "INVALID_CREDENTIALS",
            AccountError::BadToken => "INVALID_TOKEN",
            AccountError::TooManyAttempts { .. } => "RATE_LIMITED",
            AccountError::NotFound => "NOT_FOUND",
            AccountError::Busy | AccountError::Storage(StorageError::Unavailable(_)) => "SERVER_FULL",
            AccountError::Storage(_) => "INTERNAL_ERROR",
        },
    }
}

/// The sessions of the caller, or of the user that an admin asks for.
async fn list(head: &Parts, site: &Site) -> Result<Value, Failure> {
    let proved = super::prove(&head.headers, site)?;
    let query = Query::read(head.uri.query().unwrap_or_default(), &["user"])
        .map_err(|_| AccountError::bad("query", "expected user, at most once"))?;
    let user = query.get("user").unwrap_or(&proved.user_id);
    if user != &*proved.user_id && !proved.has_role(ADMIN_ROLE) {
        return Err(Failure::NotAdmin);
    }
    let sessions = site.options.accounts.sessions(user).await?;
    let own = proved.session_id.as_deref();
    let shown = sessions.iter().map(|session| shown(session, own));
    Ok(json!({ "sessions": shown.collect::<Vec<_>>() }))
}

/// `own` is the session that asks.
fn shown(session: &Session, own: Option<&str>) -> Value {
    json!({
        "session_id": session.id,
        "user_id": session.user_id,
        "user_agent": session.user_agent,
        "created_at": super::time(session.created_at),
        "last_used_at": super::time(session.last_used_at),
        "expires_at": super::time(session.expires_at),
        "current": own == Some(&session.id),
    })
}

fn logged_in(login: &Login) -> Value {
    json!({
        "session_id": login.session_id,
        "access_token": login.access_token,
        "refresh_token": login.refresh_token,
        "expires_in": login.expires_in,
        "token_type": "Bearer",
        "user": {
            "id": login.user.id,
            "username": login.user.email,
            "roles": login.user.roles,
        },
    })
}

/// The refresh token stays: the answer has no field for another.
async fn refresh(fields: &Fields, site: &Site) -> Result<Value, AccountError> {
    let offered = fields.text("refresh_token")?;
    let refreshed = site.options.accounts.refresh(offered, false).await?;
    Ok(json!({
        "access_token": refreshed.access_token,
        "expires_in": refreshed.expires_in,
        "token_type": "Bearer",
    }))
}

/// Ends a session for who holds its token, and for admins.
async fn end(id: &str, headers: &HeaderMap, site: &Arc<Site>) -> Result<(), Failure> {
    let proved = super::prove(headers, site)?;
    let is_own = proved.session_id.as_deref() == Some(id);
    if !is_own && !proved.has_role(ADMIN_ROLE) {
        site.options.accounts.session(id).await?;
        return Err(Failure::NotYours);
    }
    let (id, site) = (id.to_owned(), site.clone());
    // A task of its own: a caller who hangs up must not leave a session that has ended and of which no node was told.
    let ending = tokio::spawn(async move {
        site.options.accounts.terminate(&id).await?;
        site.node.terminate_session(&id);
        Ok::<_, AccountError>(())
    });
    let ended = ending
        .await
        .unwrap_or_else(|_| Err(StorageError::Fault("a task was cut off".to_owned()).into()));
    Ok(ended?)
}
