//! `/api/auth/…`: every reply is `{"success":true,"data":…}` or `{"success":false,"error":"…"}`.

use fanfare_accounts::{Login, PasswordChange, storage::User};
use http::StatusCode;
use serde::Serialize;
use utoipa::{OpenApi, ToSchema};

use super::{
    super::{
        call::RouteCall,
        forms::{Always, BadField, FailedError, Success},
        reply::{self, Reply},
    },
    Failure,
};

/// This family's part of the `OpenAPI` document.
#[derive(OpenApi)]
#[openapi(
    tags((name = "Accounts", description = "Users and their tokens; on every listener.")),
    paths(register, login, refresh, me, logout, change, reset)
)]
pub(in crate::http) struct AuthApi;

pub(in crate::http) fn succeeded(status: StatusCode, data: impl Serialize) -> Reply {
    reply::json(status, &Success::of(data))
}

pub(super) fn failed(failure: &Failure) -> Reply {
    let (status, _, message) = failure.describe();
    let body = FailedError {
        success: Always,
        error: &message,
        details: failure.details().map(|(field, issue)| BadField { field, issue }),
    };
    reply::json(status, &body)
}

/// A registration.
// `register` reads it.
#[derive(Serialize, ToSchema)]
struct RegisterBody<'a> {
    #[schema(format = Email)]
    email: &'a str,
    /// 8 to 1,024 bytes.
    // The schema counts characters, of which two may have eight bytes.
    #[schema(min_length = 2, max_length = 1024)]
    password: &'a str,
    name: Option<&'a str>,
}

/// Registers a user.
#[utoipa::path(
    post,
    path = "/api/auth/register",
    request_body(
        content = inline(RegisterBody<'static>),
        example = json!({ "email": "ann@example.com", "password": "correct horse battery", "name": "Ann" }),
    ),
    responses(
        (status = 201, description = "The account was created and logged in.", body = inline(Success<LoggedIn<'static>>)),
        (status = 400, description = "The body, the address or the password is invalid.", body = FailedError<'static>),
        (
            status = 403,
            description = "Registration is closed, or this server issues no tokens.",
            body = FailedError<'static>,
        ),
        (status = 409, description = "The address is taken.", body = FailedError<'static>),
    ),
)]
pub(in crate::http) async fn register(call: RouteCall<'_>) -> Result<Reply, Failure> {
    let client = call.client;
    let fields = super::read(call.body, call.site).await?;
    let (email, password) = (fields.text("email")?, fields.text("password")?);
    let name = fields.optional_text("name")?;
    let (accounts, user_agent) = (&call.site.options.accounts, super::user_agent(&call.head.headers));
    let login = accounts.register(email, password, name, Some(client), user_agent);
    let login = login.await?;
    Ok(succeeded(StatusCode::CREATED, LoggedIn::of(&login)))
}

/// A login.
// `log_in` reads it.
#[derive(Serialize, ToSchema)]
struct LoginBody<'a> {
    email: &'a str,
    password: &'a str,
}

/// Logs in.
#[utoipa::path(
    post,
    path = "/api/auth/login",
    request_body(
        content = inline(LoginBody<'static>),
        example = json!({ "email": "ann@example.com", "password": "correct horse battery" }),
    ),
    responses(
        (status = 200, description = "The user is logged in.", body = inline(Success<LoggedIn<'static>>)),
        (status = 401, description = "A wrong address or password.", body = FailedError<'static>),
    ),
)]
pub(in crate::http) async fn login(call: RouteCall<'_>) -> Result<Reply, Failure> {
    let login = super::log_in("email", call).await?;
    Ok(succeeded(StatusCode::OK, LoggedIn::of(&login)))
}

/// A refresh.
// `refresh` reads it.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
struct RefreshBody<'a> {
    refresh_token: &'a str,
}

/// Exchanges a refresh token for new tokens.
#[utoipa::path(
    post,
    path = "/api/auth/refresh",
    request_body(content = inline(RefreshBody<'static>), example = json!({ "refreshToken": "…" })),
    responses(
        (
            status = 200,
            description = "The old refresh token works for 60 seconds more.",
            body = inline(Success<Tokens<'static>>),
        ),
        (status = 401, description = "The refresh token is invalid, or was revoked.", body = FailedError<'static>),
    ),
)]
pub(in crate::http) async fn refresh(call: RouteCall<'_>) -> Result<Reply, Failure> {
    let client = call.client;
    let fields = super::read(call.body, call.site).await?;
    let refresh_token = fields.text("refreshToken")?;
    let accounts = &call.site.options.accounts;
    let refreshed = accounts.refresh(refresh_token, true, Some(client)).await?;
    let tokens = Tokens {
        access_token: &refreshed.access_token,
        token: &refreshed.access_token,
        refresh_token: &refreshed.refresh_token,
    };
    Ok(succeeded(StatusCode::OK, tokens))
}

/// Returns the token's user.
#[utoipa::path(
    get,
    path = "/api/auth/me",
    responses(
        (status = 200, description = "The user.", body = inline(Success<CurrentUser<'static>>)),
        (status = 404, description = "The token's user has no account here.", body = FailedError<'static>),
    ),
    security(("bearer" = [])),
)]
pub(in crate::http) async fn me(call: RouteCall<'_>) -> Result<Reply, Failure> {
    let identity = super::authenticate(call.headers(), call.site).await?;
    let user = call.site.options.accounts.user(&identity.user).await?;
    let user = Account::of(&user);
    Ok(succeeded(StatusCode::OK, CurrentUser { user }))
}

/// A success without data.
#[derive(Serialize, ToSchema)]
struct NoData {}

/// Ends the session of the access token: its tokens are refused on every node, its connections are closed.
#[utoipa::path(
    post,
    path = "/api/auth/logout",
    responses(
        (status = 200, description = "Logged out.", body = inline(Success<NoData>)),
        (status = 404, description = "The token belongs to no session of this server.", body = FailedError<'static>),
    ),
    security(("bearer" = [])),
)]
pub(in crate::http) async fn logout(call: RouteCall<'_>) -> Result<Reply, Failure> {
    let identity = super::authenticate(call.headers(), call.site).await?;
    super::end_own_session(&identity, call.site).await?;
    Ok(succeeded(StatusCode::OK, NoData {}))
}

/// A change of the user's own password.
// `change` reads it.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
struct ChangePasswordBody<'a> {
    current_password: &'a str,
    /// 8 to 1,024 bytes.
    // The schema counts characters, of which two may have eight bytes.
    #[schema(min_length = 2, max_length = 1024)]
    new_password: &'a str,
}

/// Changes the password. The user's other sessions end.
#[utoipa::path(
    post,
    path = "/api/auth/password",
    request_body(
        content = inline(ChangePasswordBody<'static>),
        example = json!({ "currentPassword": "correct horse battery", "newPassword": "staple of another horse" }),
    ),
    responses(
        (status = 200, description = "Changed.", body = inline(Success<NoData>)),
        (status = 403, description = "The current password is wrong.", body = FailedError<'static>),
        (status = 404, description = "The token's user has no account here.", body = FailedError<'static>),
        (
            status = 503,
            description = "The server is stopping, the database is unavailable, or too many passwords wait to be hashed.",
            body = FailedError<'static>,
            headers(("Retry-After" = u64, description = "After how many seconds to repeat the request; absent if that is unknown.")),
        ),
    ),
    security(("bearer" = [])),
)]
pub(in crate::http) async fn change(call: RouteCall<'_>) -> Result<Reply, Failure> {
    let client = call.client;
    let fields = super::read(call.body, call.site).await?;
    let identity = super::authenticate(&call.head.headers, call.site).await?;
    let current = fields.text("currentPassword")?.to_owned();
    let new = fields.text("newPassword")?.to_owned();
    super::end_sessions(call.site, move |accounts| async move {
        let change = PasswordChange {
            user_id: &identity.user,
            session: identity.session.as_deref(),
            current: &current,
            new: &new,
            client: Some(client),
        };
        accounts.change_password(change).await
    })
    .await?;
    Ok(succeeded(StatusCode::OK, NoData {}))
}

/// A reset of a password.
// `reset` reads it.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
struct ResetPasswordBody<'a> {
    token: &'a str,
    /// 8 to 1,024 bytes.
    #[schema(min_length = 2, max_length = 1024)]
    new_password: &'a str,
}

/// Resets a password with a one-time token. All sessions of its user end.
#[utoipa::path(
    post,
    path = "/api/auth/password/reset",
    request_body(
        content = inline(ResetPasswordBody<'static>),
        example = json!({ "token": "…", "newPassword": "staple of another horse" }),
    ),
    responses(
        (status = 200, description = "Reset. The user logs in with the new password.", body = inline(Success<NoData>)),
    ),
)]
pub(in crate::http) async fn reset(call: RouteCall<'_>) -> Result<Reply, Failure> {
    let client = call.client;
    let fields = super::read(call.body, call.site).await?;
    let token = fields.text("token")?.to_owned();
    let new = fields.text("newPassword")?.to_owned();
    super::end_sessions(call.site, move |accounts| async move {
        accounts.reset_password(&token, &new, Some(client)).await
    })
    .await?;
    Ok(succeeded(StatusCode::OK, NoData {}))
}

/// A user with tokens. The access token has two names: clients read one or the other.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
struct LoggedIn<'a> {
    user: Account<'a>,
    access_token: &'a str,
    /// The same as accessToken.
    token: &'a str,
    refresh_token: &'a str,
    /// The `sid` of its tokens.
    session_id: &'a str,
}

impl<'a> LoggedIn<'a> {
    fn of(login: &'a Login) -> Self {
        Self {
            user: Account::of(&login.user),
            access_token: &login.access_token,
            token: &login.access_token,
            refresh_token: &login.refresh_token,
            session_id: &login.session_id,
        }
    }
}

/// Tokens. The access token has two names: clients read one or the other.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
struct Tokens<'a> {
    access_token: &'a str,
    /// The same as accessToken.
    token: &'a str,
    refresh_token: &'a str,
}

/// The token's user.
#[derive(Serialize, ToSchema)]
#[schema(as = Me)]
struct CurrentUser<'a> {
    user: Account<'a>,
}

/// A user.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
struct Account<'a> {
    id: &'a str,
    email: &'a str,
    #[schema(required)]
    name: Option<&'a str>,
    #[schema(value_type = Vec<String>)]
    roles: &'a [String],
    #[schema(format = DateTime)]
    created_at: String,
    #[schema(required, format = DateTime)]
    last_login_at: Option<String>,
}

impl<'a> Account<'a> {
    fn of(user: &'a User) -> Self {
        Self {
            id: &user.id,
            email: &user.email,
            name: user.name.as_deref(),
            roles: &user.roles,
            created_at: reply::time(user.created_at),
            last_login_at: user.last_login_at.map(reply::time),
        }
    }
}
