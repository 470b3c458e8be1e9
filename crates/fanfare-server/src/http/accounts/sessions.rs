//! `/sessions`: the logins of programs; errors are `{"error":{"code","message","details"}}`.

use fanfare_accounts::{AccountError, Login, storage::Session};
use fanfare_core::UserId;
use serde::Serialize;
use utoipa::{OpenApi, ToSchema};

use super::{
    super::{
        api::query::Query,
        call::RouteCall,
        forms::ApiError,
        reply::{self, Reply},
    },
    Failure,
};

/// The name of the session of the request's token.
const CURRENT: &str = "current";

/// This family's part of the `OpenAPI` document.
#[derive(OpenApi)]
#[openapi(
    tags((name = "Login sessions", description = "Logging in and out; on every listener.")),
    paths(list, create, refresh, end)
)]
pub(in crate::http) struct SessionsApi;

pub(super) fn failed(failure: &Failure) -> Reply {
    let (status, code, message) = failure.describe();
    let details = failure.details().into_iter();
    let details = details.map(|(field, issue)| (field.to_owned(), issue.into()));
    reply::detailed_error(status, code, &message, details.collect())
}

/// The sessions of a user.
#[derive(Serialize, ToSchema)]
struct Sessions<'a> {
    sessions: Vec<LoginSession<'a>>,
}

/// A login session that is open.
#[derive(Serialize, ToSchema)]
struct LoginSession<'a> {
    /// The sid of its tokens.
    session_id: &'a str,
    user_id: &'a str,
    /// The User-Agent at the login.
    #[schema(required)]
    user_agent: Option<&'a str>,
    #[schema(format = DateTime)]
    created_at: String,
    /// The login, or the last refresh.
    #[schema(format = DateTime)]
    last_used_at: String,
    #[schema(format = DateTime)]
    expires_at: String,
    /// Whether it is the session of the request's token.
    current: bool,
}

impl<'a> LoginSession<'a> {
    /// Returns a session; `own` is the session of the request's token.
    fn of(session: &'a Session, own: Option<&str>) -> Self {
        Self {
            session_id: &session.id,
            user_id: &session.user_id,
            user_agent: session.user_agent.as_deref(),
            created_at: reply::time(session.created_at),
            last_used_at: reply::time(session.last_used_at),
            expires_at: reply::time(session.expires_at),
            current: own == Some(&session.id),
        }
    }
}

/// The open sessions of the caller, the last used first.
//
// An admin may ask for another user's.
#[utoipa::path(
    get,
    path = "/sessions",
    operation_id = "listSessions",
    params(("user" = Option<String>, Query, description = "The sessions of this user; admins only.")),
    responses(
        (status = 200, description = "The sessions.", body = inline(Sessions<'static>)),
        (status = 400, description = "The query is invalid.", body = ApiError<'static>),
        (status = 403, description = "The sessions are another user's.", body = ApiError<'static>),
    ),
    security(("bearer" = [])),
)]
pub(in crate::http) async fn list(call: RouteCall<'_>) -> Result<Reply, Failure> {
    let identity = super::authenticate(call.headers(), call.site).await?;
    let query = Query::read(call.query(), &["user"])
        .map_err(|_| AccountError::bad("query", "expected user, at most once"))?;
    let user = query.get("user").unwrap_or(&identity.user);
    if UserId::new(user).is_err() {
        return Err(AccountError::bad("user", "not a user's id").into());
    }
    if user != &*identity.user && !identity.is_admin() {
        return Err(Failure::NotAdmin);
    }
    let sessions = call.site.options.accounts.sessions(user).await?;
    let own = identity.session.as_deref();
    let shown = sessions.iter().map(|session| LoginSession::of(session, own));
    let sessions = shown.collect();
    Ok(reply::ok(&Sessions { sessions }))
}

/// A login.
// `log_in` reads it.
#[derive(Serialize, ToSchema)]
struct SessionBody<'a> {
    username: &'a str,
    password: &'a str,
}

/// Logs in.
#[utoipa::path(
    post,
    path = "/sessions",
    operation_id = "createSession",
    request_body(
        content = inline(SessionBody<'static>),
        example = json!({ "username": "ann@example.com", "password": "correct horse battery" }),
    ),
    responses(
        (status = 200, description = "The user is logged in.", body = inline(OpenedSession<'static>)),
        (status = 401, description = "A wrong name or password.", body = ApiError<'static>),
    ),
)]
pub(in crate::http) async fn create(call: RouteCall<'_>) -> Result<Reply, Failure> {
    let login = super::log_in("username", call).await?;
    Ok(reply::ok(&OpenedSession::of(&login)))
}

/// A session, and its tokens.
#[derive(Serialize, ToSchema)]
struct OpenedSession<'a> {
    /// The sid of its tokens.
    session_id: &'a str,
    access_token: &'a str,
    refresh_token: &'a str,
    /// Seconds.
    expires_in: u64,
    #[schema(inline)]
    token_type: TokenType,
    #[schema(inline)]
    user: SessionUser<'a>,
}

/// The logged-in user.
#[derive(Serialize, ToSchema)]
struct SessionUser<'a> {
    id: &'a str,
    username: &'a str,
    #[schema(value_type = Vec<String>)]
    roles: &'a [String],
}

/// The scheme of the access token.
#[derive(Serialize, ToSchema)]
enum TokenType {
    Bearer,
}

impl<'a> OpenedSession<'a> {
    fn of(login: &'a Login) -> Self {
        Self {
            session_id: &login.session_id,
            access_token: &login.access_token,
            refresh_token: &login.refresh_token,
            expires_in: login.expires_in,
            token_type: TokenType::Bearer,
            user: SessionUser {
                id: &login.user.id,
                username: &login.user.email,
                roles: &login.user.roles,
            },
        }
    }
}

/// A refresh.
// `refresh` reads it.
#[derive(Serialize, ToSchema)]
struct SessionRefreshBody<'a> {
    refresh_token: &'a str,
}

/// A fresh access token. The refresh token stays, because this family has no field for a new one.
#[derive(Serialize, ToSchema)]
struct RefreshedSession<'a> {
    access_token: &'a str,
    /// Seconds.
    expires_in: u64,
    #[schema(inline)]
    token_type: TokenType,
}

/// Returns a new access token.
#[utoipa::path(
    post,
    path = "/sessions/refresh",
    operation_id = "refreshSession",
    request_body(content = inline(SessionRefreshBody<'static>), example = json!({ "refresh_token": "…" })),
    responses(
        (status = 200, description = "The refresh token stays as it is.", body = inline(RefreshedSession<'static>)),
        (status = 401, description = "The refresh token is invalid, or was revoked.", body = ApiError<'static>),
    ),
)]
pub(in crate::http) async fn refresh(call: RouteCall<'_>) -> Result<Reply, Failure> {
    let client = call.client;
    let fields = super::read(call.body, call.site).await?;
    let refresh_token = fields.text("refresh_token")?;
    let accounts = &call.site.options.accounts;
    let refreshed = accounts.refresh(refresh_token, false, Some(client)).await?;
    Ok(reply::ok(&RefreshedSession {
        access_token: &refreshed.access_token,
        expires_in: refreshed.expires_in,
        token_type: TokenType::Bearer,
    }))
}

/// Ends a login session: its tokens are refused on every node, its connections are closed.
//
// For the holder of its token, and for admins.
#[utoipa::path(
    delete,
    path = "/sessions/{session_id}",
    operation_id = "endSession",
    params(("session_id" = String, Path, description = "The session's id, or `current` for the session of the token.", example = "current")),
    responses(
        (status = 204, description = "Ended."),
        (
            status = 403,
            description = "The token belongs neither to this session nor to an admin.",
            body = ApiError<'static>,
        ),
        (status = 404, description = "There is no such session.", body = ApiError<'static>),
    ),
    security(("bearer" = [])),
)]
pub(in crate::http) async fn end(call: RouteCall<'_>) -> Result<Reply, Failure> {
    let (id, site) = (call.segment, call.site);
    let identity = super::authenticate(call.headers(), site).await?;
    if id == CURRENT {
        super::end_own_session(&identity, site).await?;
        return Ok(reply::no_content());
    }
    let is_own = identity.session.as_deref() == Some(id);
    if !is_own && !identity.is_admin() {
        site.options.accounts.session(id).await?;
        return Err(Failure::NotYours);
    }
    super::end_session(id, site).await?;
    Ok(reply::no_content())
}
