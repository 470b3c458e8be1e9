//! `/api/auth/…`: every answer is `{"success":true,"data":…}` or `{"success":false,"error":"…"}`.

use std::{collections::BTreeMap, net::IpAddr, sync::Arc};

use fanfare_accounts::{AccountError, Login, storage::User};
use http::{HeaderMap, Method, Request, StatusCode};
use serde::Serialize;
use utoipa::{
    IntoResponses, OpenApi, ToSchema,
    openapi::{RefOr, Response},
};

use super::{
    super::{
        Site,
        body::RequestBody,
        forms::{Always, BadField, FailedError, Success, challenging, refusals},
        reply::{self, Reply},
    },
    Failure, Fields, PROVING, SENT, password,
};

/// This family's part of what describes the server.
#[derive(OpenApi)]
#[openapi(
    tags((name = "Accounts", description = "Users and their tokens; on every listener.")),
    paths(
        register,
        login,
        refresh,
        me,
        super::password::logout,
        super::password::change,
        super::password::reset
    )
)]
pub(in crate::http) struct Api;

/// What the routes that take a body may answer in place of what was asked for.
pub(super) struct Sent;

impl IntoResponses for Sent {
    fn responses() -> BTreeMap<String, RefOr<Response>> {
        refusals::<FailedError<'_>>(SENT)
    }
}

/// What the routes that take an access token may answer in place of what was asked for.
pub(super) struct Proving;

impl IntoResponses for Proving {
    fn responses() -> BTreeMap<String, RefOr<Response>> {
        challenging(refusals::<FailedError<'_>>(PROVING))
    }
}

#[derive(Clone, Copy)]
enum Route {
    Register,
    Login,
    Refresh,
    Me,
    Logout,
    Password,
    Reset,
}

impl Route {
    fn find(path: &str) -> Option<Self> {
        match path {
            "/api/auth/register" => Some(Self::Register),
            "/api/auth/login" => Some(Self::Login),
            "/api/auth/refresh" => Some(Self::Refresh),
            "/api/auth/me" => Some(Self::Me),
            "/api/auth/logout" => Some(Self::Logout),
            "/api/auth/password" => Some(Self::Password),
            "/api/auth/password/reset" => Some(Self::Reset),
            _ => None,
        }
    }

    fn methods(self) -> &'static [Method] {
        match self {
            Self::Register | Self::Login | Self::Refresh | Self::Logout | Self::Password | Self::Reset => {
                &[Method::POST]
            }
            Self::Me => &[Method::GET, Method::HEAD],
        }
    }
}

pub(super) async fn answer(
    path: &str,
    request: Request<RequestBody>,
    peer: IpAddr,
    site: &Arc<Site>,
) -> Result<Reply, Failure> {
    let route = Route::find(path).ok_or(Failure::NoRoute)?;
    super::admit(site, request.method(), route.methods())?;
    let (head, sent) = request.into_parts();
    let headers = &head.headers;
    match route {
        Route::Register => {
            let fields = super::read(sent, site).await?;
            register(&fields, site.client(peer, headers), headers, site).await
        }
        Route::Login => {
            let fields = super::read(sent, site).await?;
            login(&fields, site.client(peer, headers), headers, site).await
        }
        Route::Refresh => {
            let fields = super::read(sent, site).await?;
            refresh(&fields, site.client(peer, headers), site).await
        }
        Route::Me => me(headers, site).await,
        Route::Logout => password::logout(headers, site).await,
        Route::Password => {
            let fields = super::read(sent, site).await?;
            password::change(&fields, site.client(peer, headers), headers, site).await
        }
        Route::Reset => {
            let fields = super::read(sent, site).await?;
            password::reset(&fields, site.client(peer, headers), site).await
        }
    }
}

pub(super) fn succeeded(status: StatusCode, data: impl Serialize) -> Reply {
    reply::json(status, &Success::of(data))
}

pub(super) fn failed(failure: &Failure) -> Reply {
    let body = FailedError {
        success: Always,
        error: &failure.message(),
        details: failure.details().map(|(field, issue)| BadField { field, issue }),
    };
    reply::json(failure.status(), &body)
}

/// Who is to become a user.
#[derive(Serialize, ToSchema)]
struct Registration<'a> {
    #[schema(format = Email)]
    email: &'a str,
    /// 8 to 1,024 bytes.
    // The schema counts characters, of which two may have eight bytes.
    #[schema(min_length = 2, max_length = 1024)]
    password: &'a str,
    name: Option<&'a str>,
}

impl<'a> Registration<'a> {
    fn read(fields: &'a Fields) -> Result<Self, AccountError> {
        Ok(Self {
            email: fields.text("email")?,
            password: fields.text("password")?,
            name: fields.optional_text("name")?,
        })
    }
}

/// Makes a user.
#[utoipa::path(
    post,
    path = "/api/auth/register",
    tag = "Accounts",
    request_body(
        content = inline(Registration<'static>),
        example = json!({ "email": "ann@example.com", "password": "correct horse battery", "name": "Ann" }),
    ),
    responses(
        Sent,
        (status = 201, description = "Made, and logged in.", body = inline(Success<LoggedIn<'static>>)),
        (status = 400, description = "The body will not do, or the address, or the password.", body = FailedError<'static>),
        (
            status = 403,
            description = "Registration is closed, or this server issues no tokens.",
            body = FailedError<'static>,
        ),
        (status = 409, description = "The address is taken.", body = FailedError<'static>),
    ),
)]
async fn register(
    fields: &Fields,
    client: IpAddr,
    headers: &HeaderMap,
    site: &Site,
) -> Result<Reply, Failure> {
    let Registration {
        email,
        password,
        name,
    } = Registration::read(fields)?;
    let user_agent = super::user_agent(headers);
    let accounts = &site.options.accounts;
    let login = accounts
        .register(email, password, name, Some(client), user_agent)
        .await?;
    Ok(succeeded(StatusCode::CREATED, LoggedIn::of(&login)))
}

/// Who logs in.
// `log_in` reads it.
#[derive(Serialize, ToSchema)]
struct Credentials<'a> {
    email: &'a str,
    password: &'a str,
}

/// Logs in.
#[utoipa::path(
    post,
    path = "/api/auth/login",
    tag = "Accounts",
    request_body(
        content = inline(Credentials<'static>),
        example = json!({ "email": "ann@example.com", "password": "correct horse battery" }),
    ),
    responses(
        Sent,
        (status = 200, description = "Logged in.", body = inline(Success<LoggedIn<'static>>)),
        (status = 401, description = "A wrong address or password.", body = FailedError<'static>),
    ),
)]
async fn login(fields: &Fields, client: IpAddr, headers: &HeaderMap, site: &Site) -> Result<Reply, Failure> {
    let login = super::log_in("email", fields, client, headers, site).await?;
    Ok(succeeded(StatusCode::OK, LoggedIn::of(&login)))
}

/// What a session goes on with.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
struct Renewal<'a> {
    refresh_token: &'a str,
}

/// Exchanges a refresh token for new tokens.
#[utoipa::path(
    post,
    path = "/api/auth/refresh",
    tag = "Accounts",
    request_body(content = inline(Renewal<'static>), example = json!({ "refreshToken": "…" })),
    responses(
        Sent,
        (
            status = 200,
            description = "The old refresh token works for 60 seconds more.",
            body = inline(Success<Tokens<'static>>),
        ),
        (status = 401, description = "The refresh token is not good, or no longer.", body = FailedError<'static>),
    ),
)]
async fn refresh(fields: &Fields, client: IpAddr, site: &Site) -> Result<Reply, Failure> {
    let Renewal { refresh_token } = Renewal {
        refresh_token: fields.text("refreshToken")?,
    };
    let refreshed = site
        .options
        .accounts
        .refresh(refresh_token, true, Some(client))
        .await?;
    let tokens = Tokens {
        access_token: &refreshed.access_token,
        token: &refreshed.access_token,
        refresh_token: refreshed.refresh_token.as_deref().unwrap_or(refresh_token),
    };
    Ok(succeeded(StatusCode::OK, tokens))
}

/// Who the token is of.
#[utoipa::path(
    get,
    path = "/api/auth/me",
    tag = "Accounts",
    responses(
        Proving,
        (status = 200, description = "The user.", body = inline(Success<Known<'static>>)),
        (status = 404, description = "The token's user has no account here.", body = FailedError<'static>),
    ),
    security(("bearer" = [])),
)]
async fn me(headers: &HeaderMap, site: &Site) -> Result<Reply, Failure> {
    let proved = super::prove(headers, site).await?;
    let user = site.options.accounts.user(&proved.user_id).await?;
    let known = Known {
        user: Account::of(&user),
    };
    Ok(succeeded(StatusCode::OK, known))
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
    /// The sid of its tokens.
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

/// Whose token it is.
#[derive(Serialize, ToSchema)]
#[schema(as = Me)]
struct Known<'a> {
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
            created_at: super::time(user.created_at),
            last_login_at: user.last_login_at.map(super::time),
        }
    }
}
