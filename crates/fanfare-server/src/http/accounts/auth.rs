//! `/api/auth/…`: every answer is `{"success":true,"data":…}` or `{"success":false,"error":"…"}`.

use std::{net::IpAddr, sync::Arc};

use http::{Method, Request, StatusCode};
use hyper::body::Incoming;
use serde_json::{Value, json};

use super::{
    super::{
        Site,
        reply::{self, Reply},
    },
    Failure, Fields,
};
use crate::{
    accounts::{AccountError, Login},
    storage::User,
};

#[derive(Clone, Copy)]
enum Route {
    Register,
    Login,
    Refresh,
    Me,
}

impl Route {
    fn find(path: &str) -> Option<Self> {
        match path {
            "/api/auth/register" => Some(Self::Register),
            "/api/auth/login" => Some(Self::Login),
            "/api/auth/refresh" => Some(Self::Refresh),
            "/api/auth/me" => Some(Self::Me),
            _ => None,
        }
    }

    fn methods(self) -> &'static [Method] {
        match self {
            Self::Register | Self::Login | Self::Refresh => &[Method::POST],
            Self::Me => &[Method::GET, Method::HEAD],
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
    let (status, data) = match route {
        Route::Register => {
            let fields = super::read(sent, site).await?;
            let login = register(&fields, super::user_agent(headers), site).await?;
            (StatusCode::CREATED, logged_in(&login))
        }
        Route::Login => {
            let fields = super::read(sent, site).await?;
            let client = site.client(peer, headers);
            let login = super::log_in("email", &fields, client, headers, site).await?;
            (StatusCode::OK, logged_in(&login))
        }
        Route::Refresh => {
            let fields = super::read(sent, site).await?;
            (StatusCode::OK, refresh(&fields, site).await?)
        }
        Route::Me => {
            let proved = super::prove(headers, site)?;
            let user = site.options.accounts.user(&proved.user_id).await?;
            (StatusCode::OK, json!({ "user": shown(&user) }))
        }
    };
    Ok(reply::json(status, &json!({ "success": true, "data": data })))
}

pub(super) fn failed(failure: &Failure) -> Reply {
    let mut body = json!({ "success": false, "error": failure.message() });
    if let Some((field, issue)) = failure.details() {
        body["details"] = json!({ "field": field, "issue": issue });
    }
    reply::json(failure.status(), &body)
}

async fn register(fields: &Fields, user_agent: Option<&str>, site: &Site) -> Result<Login, AccountError> {
    let (email, password) = (fields.text("email")?, fields.text("password")?);
    let name = fields.optional_text("name")?;
    let accounts = &site.options.accounts;
    accounts.register(email, password, name, user_agent).await
}

async fn refresh(fields: &Fields, site: &Site) -> Result<Value, AccountError> {
    let offered = fields.text("refreshToken")?;
    let refreshed = site.options.accounts.refresh(offered, true).await?;
    let refresh_token = refreshed.refresh_token.as_deref().unwrap_or(offered);
    Ok(tokens(&refreshed.access_token, refresh_token))
}

fn logged_in(login: &Login) -> Value {
    let mut data = tokens(&login.access_token, &login.refresh_token);
    data["user"] = shown(&login.user);
    data
}

/// The access token has two names: clients read one or the other.
fn tokens(access: &str, refresh: &str) -> Value {
    json!({ "accessToken": access, "token": access, "refreshToken": refresh })
}

fn shown(user: &User) -> Value {
    json!({
        "id": user.id,
        "email": user.email,
        "name": user.name,
        "roles": user.roles,
        "createdAt": super::time(user.created_at),
        "lastLoginAt": user.last_login_at.map(super::time),
    })
}
