//! The kinds of problems of a node, each with its meaning and its remedy.

use std::{collections::BTreeMap, sync::atomic::Ordering::Relaxed};

use fanfare_accounts::Accounts;
use fanfare_engine::Node;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// The severity.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Severity {
    /// Clients do not receive their events, or cannot connect.
    Error,
    /// Some clients may suffer.
    Warning,
    /// Normal in operation.
    Info,
}

pub(crate) struct ProblemKind {
    pub(crate) name: &'static str,
    pub(crate) severity: Severity,
    pub(crate) title: &'static str,
    pub(crate) advice: &'static str,
}

/// The occurrences of each problem since the start, by the names of [`KINDS`].
pub(super) type ProblemCounts = BTreeMap<String, u64>;

/// The occurrences of one problem on a node.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(default)]
pub(crate) struct Occurrences {
    /// Since the node's start.
    pub(crate) total: u64,
    /// In the last ten minutes.
    pub(crate) recent: u64,
}

macro_rules! kinds {
    ($($severity:ident $name:literal: $title:literal, $advice:literal;)*) => {
        &[$(ProblemKind { name: $name, severity: Severity::$severity, title: $title, advice: $advice }),*]
    };
}

/// The kinds of problems. A name is `refused.REASON`, `ended.REASON`, or one of the node's own.
pub(crate) const KINDS: &[ProblemKind] = kinds! {
    Error "broker_away": "The broker is disconnected",
        "Events reach only the connections of their own node. Check that the broker runs and that this machine reaches it; the log says why it was lost.";
    Error "database_away": "The database is down",
        "Logins, sessions and stored messages fail; connections stay open. Check the database and storage.url.";
    Error "no_certificate": "A listener has no certificate",
        "TLS handshakes fail until the ACME authority issues one; the log has the authority's reason. Check that the domains resolve to this node and that the authority reaches port 443.";
    Error "nodes_missing": "Other nodes do not report",
        "They may miss events. Check that they run and reach the broker.";
    Error "full": "A dialect has its maximum of connections",
        "New clients are refused. Raise max_connections of the dialect, or add a node.";
    Error "publications_degraded": "Publications may have missed other nodes",
        "Look for an outage of the broker or a node that hangs at that time. Publishers see degraded: true and may publish again.";
    Error "render_faults": "Events could not be rendered in a dialect",
        "A fault of the server: please report it with the line of the log that names the event.";
    Error "refused.keys_unavailable": "Tokens could not be verified: the keys were not fetched",
        "Check that auth.jwks_url answers from this machine.";
    Error "ended.internal_error": "Connections ended by a fault of the server",
        "Please report it with the lines of the log.";
    Warning "reload_refused": "The last reload was refused",
        "The configuration has an error, so the settings from before stay in force. The log names the file and the line: correct it, and reload.";
    Warning "order_failed": "The last order of a certificate failed",
        "The ACME authority issued none, and is asked again; the log has its reason. Check that the domains resolve to this node and that the authority reaches port 443.";
    Warning "certificate_ends": "A certificate ends within two weeks",
        "It was not renewed, or not reloaded: renew the files and reload. With ACME the log has the authority's reason.";
    Warning "ended.slow_consumer": "Slow consumers were closed",
        "Their queue was full: the client or its network reads more slowly than events arrive. Sort the connections by waiting messages to find them. Raise send_queue of the dialect if bursts are normal, or publish fewer events to them.";
    Warning "messages_dropped": "Messages did not fit a client's queue",
        "See slow consumers.";
    Warning "refused.at_capacity": "Handshakes refused: the dialect was full",
        "Raise max_connections of the dialect, or add a node.";
    Warning "refused.address_at_capacity": "Handshakes refused: too many connections from one address",
        "Many users behind one proxy or NAT look like one address: list your proxies in limits.trusted_proxies, or raise max_connections_per_ip.";
    Warning "refused.user_at_capacity": "Handshakes refused: a user has too many connections",
        "Clients reconnect without closing, or a user has many tabs. Raise max_connections_per_user if that is normal.";
    Warning "refused.forbidden_origin": "Handshakes refused: the page's origin is not allowed",
        "Add the origin to auth.allowed_origins if the page is yours; the log names it.";
    Warning "refused.bad_credential": "Handshakes refused: the token is invalid",
        "It is forged, signed with another secret, or for another audience. If every client is refused, compare the issuer's secret or keys with [auth].";
    Warning "publications_rejected": "Invalid publications were dropped",
        "A publisher sends messages that do not have the documented form; the log names the error.";
    Warning "broker_messages_ignored": "Messages on the broker were ignored",
        "Another program publishes on the nodes' subjects, or nodes of different versions share the broker.";
    Warning "notices_dropped": "Notices to other nodes were dropped",
        "The broker was unavailable for long. A session that was ended meanwhile may stay valid on other nodes until its token expires.";
    Warning "ids_evicted": "Idempotency keys were forgotten early",
        "A repeated event may be published again. Raise broker.max_remembered_ids.";
    Warning "authorizer_failed": "The authorizer gave no answer",
        "Requests that no rule decides were refused. Check authorizer.url and the time that it takes to answer.";
    Warning "accept_errors": "Connections could not be accepted",
        "Most often the process has no file descriptors left: raise its limit (ulimit -n).";
    Info "ended.rate_limited": "Connections ended: the client sent too many messages",
        "Raise limits.messages_per_second_per_connection if that is your client.";
    Info "refused.rate_limited": "Handshakes refused: too many from one address",
        "Raise limits.upgrades_per_second_per_ip if these are your clients.";
    Info "requests_rate_limited": "Requests refused: too many from one address",
        "Raise limits.requests_per_second_per_ip if these are your callers.";
    Info "messages_rate_limited": "Messages from clients dropped: too many in a second",
        "Raise limits.messages_per_second_per_connection if these are your clients.";
    Info "refused.missing_credential": "Handshakes refused: no token",
        "One of your clients sends no token, or strangers connect.";
    Info "refused.expired_credential": "Handshakes refused: the token has expired",
        "Clients should fetch a new token before they reconnect.";
    Info "refused.forbidden": "Handshakes refused: the token lacks a right",
        "See realtime.required_roles.";
    Info "refused.bad_name": "Handshakes refused: the client_id is invalid",
        "A client_id has at most 128 bytes and no control characters.";
    Info "refused.name_taken": "Handshakes refused: another connection has the client's name",
        "Two tabs use one client_id, or a client reconnected before the server noticed that its old connection was lost.";
    Info "ended.ping_timeout": "Connections ended: the client was silent",
        "The network dropped idle connections, or phones slept. Set ping_interval to less than the idle timeout of your proxies.";
    Info "ended.token_expired": "Connections ended: the token has expired",
        "Clients should reconnect with a new token.";
    Info "connection_errors": "Connections ended by an error",
        "The network failed, or a client violated the protocol; the debug log has each case.";
    Info "handshakes_timed_out": "Connections cut before their request was complete",
        "Slow clients, scanners, or a health check that only connects.";
    Info "logins_refused": "Logins with a wrong address or password",
        "Many from one address are an attack; auth.login_attempts_per_minute limits them.";
};

pub(super) fn counts(node: &Node, accounts: &Accounts) -> ProblemCounts {
    let mut counts = ProblemCounts::new();
    let mut add = |name: &str, count: u64| {
        if KINDS.iter().any(|kind| kind.name == name) {
            *counts.entry(name.to_owned()).or_default() += count;
        }
    };
    for mounted in &node.dialects {
        let own = &mounted.counters;
        for (reason, count) in own.refusals.all() {
            add(&format!("refused.{reason}"), count);
        }
        for (reason, count) in own.endings.all() {
            add(&format!("ended.{reason}"), count);
        }
        add("messages_dropped", own.dropped.load(Relaxed));
        add("messages_rate_limited", own.rate_limited.load(Relaxed));
        add("render_faults", own.render_faults.load(Relaxed));
        add("connection_errors", own.errors.load(Relaxed));
    }
    let (own, broker) = (&node.counters, node.broker().figures());
    let sum = |counts: &[(&str, u64)]| counts.iter().map(|(_, count)| count).sum();
    add("publications_degraded", sum(&broker.degraded));
    add("broker_messages_ignored", sum(&broker.ignored));
    add("notices_dropped", broker.notices_dropped);
    add("publications_rejected", own.publications_rejected.load(Relaxed));
    add("handshakes_timed_out", own.handshakes_timed_out.load(Relaxed));
    add("requests_rate_limited", own.requests_rate_limited.load(Relaxed));
    add("accept_errors", own.accept_errors.load(Relaxed));
    add("ids_evicted", node.broker().remembered_ids().evicted);
    add("authorizer_failed", node.access.authorizer_counts().failed);
    for (result, count) in accounts.logins().all() {
        add(&format!("logins_{result}"), count);
    }
    counts
}

/// Returns the problems that have occurred, and how often since `before`.
pub(super) fn since(now: &ProblemCounts, before: &ProblemCounts) -> BTreeMap<String, Occurrences> {
    let known = now.iter().filter(|(_, total)| **total > 0);
    let occurrences = known.map(|(name, &total)| {
        let before = before.get(name).copied().unwrap_or_default();
        let recent = total.saturating_sub(before);
        (name.clone(), Occurrences { total, recent })
    });
    occurrences.collect()
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use fanfare_core::{Ending, Refusal};

    use super::*;

    #[test]
    fn names_are_unique_and_each_reason_is_one_of_the_servers() {
        let names: HashSet<_> = KINDS.iter().map(|kind| kind.name).collect();
        assert_eq!(names.len(), KINDS.len());
        let refusals: Vec<_> = Refusal::ALL.iter().map(|refusal| refusal.label()).collect();
        let endings: Vec<_> = Ending::ALL.iter().map(|ending| ending.label()).collect();
        for name in names {
            match name.split_once('.') {
                Some(("refused", reason)) => assert!(
                    refusals.contains(&reason) || reason == "forbidden_origin",
                    "{name}"
                ),
                Some(("ended", reason)) => assert!(endings.contains(&reason), "{name}"),
                _ => {}
            }
        }
    }

    #[test]
    fn recent_occurrences_are_counted_separately() {
        let counts = |list: &[(&str, u64)]| {
            list.iter()
                .map(|(name, count)| ((*name).to_owned(), *count))
                .collect()
        };
        let found = since(
            &counts(&[("a", 5), ("b", 0), ("c", 2)]),
            &counts(&[("a", 3), ("c", 7)]),
        );
        let found: Vec<_> = found
            .iter()
            .map(|(name, own)| (&**name, own.total, own.recent))
            .collect();
        assert_eq!(found, [("a", 5, 2), ("c", 2, 0)]);
    }
}
