//! Serves the dialects' own HTTP routes.

use std::{net::IpAddr, sync::Arc, time::SystemTime};

use bytes::Bytes;
use fanfare_core::{Call, Endpoint, HttpReply, Plan, PublishOptions, Report, RequestHead, path_matches};
use fanfare_engine::{Conflict, MountedDialect};
use http::{Method, Request, StatusCode, request::Parts};
use uuid::Uuid;

use super::{
    Site,
    body::{self, RequestBody},
    caller,
    headers::{Joined, traceparent},
    rejection::RouteRejection,
    reply::{self, Reply},
    site::PathMatching,
};

/// Returns the dialect of `site` that has `path` among its own routes.
pub(super) fn find<'a>(site: &'a Site, path: &str, matches: PathMatching) -> Option<&'a Arc<MountedDialect>> {
    let has = |mounted: &&Arc<MountedDialect>| {
        let mut own = mounted.dialect.endpoints().iter();
        own.any(|own| matches(own.path, path))
    };
    site.dialects.iter().find(has)
}

/// Answers a request to a route of `mounted`.
pub(super) async fn answer(
    request: Request<RequestBody>,
    path: &str,
    peer: IpAddr,
    site: &Arc<Site>,
    mounted: &Arc<MountedDialect>,
) -> Reply {
    let own = mounted.dialect.endpoints().iter();
    let own = own.filter(|endpoint| path_matches(endpoint.path, path));
    let Some(endpoint) = own.clone().find(|endpoint| serves(endpoint, request.method())) else {
        let methods = own.filter_map(|endpoint| endpoint.method.parse().ok());
        return reject(mounted, &RouteRejection::WrongMethod(methods.collect()));
    };
    if site.node.is_draining() {
        return reject(mounted, &RouteRejection::Draining);
    }
    let (head, sent) = request.into_parts();
    if endpoint.guarded
        && let Err(rejection) = caller::authorize(site, peer, &head, caller::scope_of(&head.method)).await
    {
        return reject(mounted, &rejection);
    }
    let body = match body::read(sent, site).await {
        Ok(body) => body,
        Err(bad) => return reply::dialect_error(mounted, bad.status, &bad.message),
    };
    let traceparent = traceparent(&head.headers);
    let (own, path) = (mounted.clone(), path.to_owned());
    let planning = body.parse(move |bytes| plan(endpoint, &head, &path, bytes, &own));
    let answer = carry_out(planning.await, traceparent, site, mounted).await;
    // The server finds out why a refused body is not JSON, so that no dialect has to.
    if endpoint.method == "POST"
        && answer.status == StatusCode::BAD_REQUEST.as_u16()
        && let Some(bad) = body.not_json().await
    {
        return reply::dialect_error(mounted, bad.status, &bad.message);
    }
    reply::from_dialect(answer)
}

/// Returns the reply to a request that does not reach the dialect, in the dialect's form.
pub(super) fn reject(mounted: &MountedDialect, rejection: &RouteRejection) -> Reply {
    rejection.with_headers(reply::dialect_error(
        mounted,
        rejection.status(),
        &rejection.to_string(),
    ))
}

fn serves(endpoint: &Endpoint, method: &Method) -> bool {
    endpoint.method == method.as_str() || (endpoint.method == "GET" && method == Method::HEAD)
}

fn plan(endpoint: &Endpoint, head: &Parts, path: &str, body: &Bytes, mounted: &MountedDialect) -> Plan {
    let joined = Joined::new(&head.headers);
    let header = |name: &str| joined.get(name);
    let query = head.uri.query().unwrap_or_default();
    mounted.dialect.call(&Call {
        path: endpoint.path,
        head: RequestHead::new(query, &header).at(endpoint.path, path),
        body,
        now: SystemTime::now(),
        id: Uuid::new_v4(),
    })
}

async fn carry_out(
    plan: Plan,
    traceparent: Option<Box<str>>,
    site: &Site,
    mounted: &MountedDialect,
) -> HttpReply {
    match plan {
        Plan::Reply(answer) => answer,
        Plan::Publish(mut event, then) => {
            event.traceparent = traceparent;
            let events = std::slice::from_ref(&*event);
            site.node
                .record_entry("dialect_route", Some(mounted.name), events);
            let options = PublishOptions { receipt: true };
            let published = site.node.publish(vec![*event], options, Conflict::Wait).await;
            let receipt = published.ok().and_then(|receipts| receipts.first().copied());
            then(receipt.unwrap_or_default())
        }
        Plan::Report { connections, then } => {
            let connections = if connections {
                site.node.list(mounted).await
            } else {
                Vec::new()
            };
            then(&Report {
                node: site.node.facts(),
                own: site.node.dialect_facts(mounted),
                settings: mounted.report(),
                listener: site.options.address,
                log_level: site.rules().log_level,
                draining: site.node.is_draining(),
                shutdown_timeout: site.options.shutdown_timeout,
                connections,
            })
        }
    }
}
