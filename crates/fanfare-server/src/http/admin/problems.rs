//! `GET /api/v1/problems`: the problems of all nodes, each with a remedy.

use std::{collections::BTreeMap, time::Duration};

use serde::Serialize;
use utoipa::ToSchema;
use uuid::Uuid;

use super::{Always, ApiFailure, Reply, RouteCall, degraded, reply};
use crate::{
    report::{FIGURES, KINDS, NodeFigures, ProblemKind, Severity},
    upkeep::ENDS_SOON,
};

/// The problems of all nodes.
#[derive(Serialize, ToSchema)]
struct ReportedProblems {
    /// The most severe first.
    #[schema(inline)]
    problems: Vec<ReportedProblem>,
    /// True if a node has not answered, or the broker was unavailable; otherwise absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(inline, nullable = false)]
    degraded: Option<Always<true>>,
}

/// A problem on one or several nodes.
#[derive(Serialize, ToSchema)]
struct ReportedProblem {
    /// refused.REASON, ended.REASON, or another stable name.
    name: &'static str,
    #[schema(inline)]
    severity: Severity,
    /// Whether it lasts, or has occurred in the last ten minutes.
    current: bool,
    title: &'static str,
    /// The remedy.
    advice: &'static str,
    /// Occurrences since the nodes' starts; of a problem that lasts, the number of nodes that have it.
    total: u64,
    /// Occurrences in the last ten minutes.
    recent: u64,
    /// The total of each node.
    nodes: BTreeMap<Uuid, u64>,
    /// The cause, or the part that has the problem; null if neither is known.
    #[schema(required)]
    detail: Option<String>,
}

/// The problems of all nodes, each with a remedy.
#[utoipa::path(
    get,
    path = "/api/v1/problems",
    operation_id = "problems",
    responses((status = 200, description = "The most severe first.", body = inline(ReportedProblems))),
)]
pub(in crate::http) async fn list(call: RouteCall<'_>) -> Result<Reply, ApiFailure> {
    let found = call.site.node.reports::<NodeFigures>(FIGURES).await;
    let problem = |kind| ReportedProblem::of(kind, &found.answer);
    let mut problems: Vec<_> = KINDS.iter().filter_map(problem).collect();
    problems.sort_by_key(|problem| (!problem.current, problem.severity));
    let degraded = degraded(found.complete);
    Ok(reply::ok(&ReportedProblems { problems, degraded }))
}

impl ReportedProblem {
    /// Returns the problem of this kind; `None` if no node has it.
    fn of(kind: &ProblemKind, nodes: &[NodeFigures]) -> Option<Self> {
        let mut problem = Self {
            name: kind.name,
            severity: kind.severity,
            current: false,
            title: kind.title,
            advice: kind.advice,
            total: 0,
            recent: 0,
            nodes: BTreeMap::new(),
            detail: None,
        };
        for node in nodes {
            if let Some(detail) = lasting(kind.name, node) {
                problem.current = true;
                problem.add(node.id, 1);
                problem.detail = Some(detail).filter(|detail| !detail.is_empty());
            }
            if let Some(counted) = node.problems.get(kind.name) {
                problem.current |= counted.recent > 0;
                problem.recent += counted.recent;
                problem.add(node.id, counted.total);
            }
        }
        (problem.total > 0).then_some(problem)
    }

    fn add(&mut self, node: Uuid, count: u64) {
        self.total += count;
        self.nodes.insert(node, count);
    }
}

/// Returns the detail of the problem `name`, which may be empty, if `node` has it now.
fn lasting(name: &str, node: &NodeFigures) -> Option<String> {
    let away = |is_away: bool, error: &Option<String>| is_away.then(|| error.clone().unwrap_or_default());
    match name {
        "broker_away" => away(node.broker.status == "disconnected", &node.broker.error),
        "database_away" => away(node.database.status == "down", &node.database.error),
        "reload_refused" => node.reload_refused.then(String::new),
        "order_failed" => node.order_failed.then(String::new),
        "no_certificate" => certificates(node, |end| end.is_none()),
        "certificate_ends" => {
            let soon = node.time_ms / 1000 + ENDS_SOON.as_secs();
            certificates(node, |end| end.is_some_and(|end| end < soon))
        }
        "nodes_missing" => {
            let missing = node.broker.peers.get("missing").copied().unwrap_or_default();
            (missing > 0).then(|| format!("{missing} missing"))
        }
        "full" => {
            let own = node.dialects.iter();
            let full = own.filter(|own| own.connections >= own.max_connections);
            let names: Vec<_> = full.map(|own| &*own.name).collect();
            (!names.is_empty()).then(|| names.join(", "))
        }
        _ => None,
    }
}

/// Returns the listeners whose certificate's end `matches`; `None` if there are none.
fn certificates(node: &NodeFigures, matches: impl Fn(Option<u64>) -> bool) -> Option<String> {
    let found = node.certificates.iter().filter(|(_, end)| matches(**end));
    let shown = found.map(|(listener, end)| match end.map(Duration::from_secs) {
        Some(end) => format!("{listener} ends at {}", reply::time_since_1970(end)),
        None => listener.clone(),
    });
    let shown: Vec<_> = shown.collect();
    (!shown.is_empty()).then(|| shown.join(", "))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(name: &str, nodes: serde_json::Value) -> Option<ReportedProblem> {
        let nodes: Vec<NodeFigures> = serde_json::from_value(nodes).unwrap_or_else(|error| panic!("{error}"));
        let kind = KINDS.iter().find(|kind| kind.name == name);
        ReportedProblem::of(kind.unwrap_or_else(|| panic!("{name} is no kind")), &nodes)
    }

    #[test]
    fn counts_are_summed_over_nodes() {
        let (a, b) = (Uuid::from_u128(1), Uuid::from_u128(2));
        let counted =
            |total, recent| serde_json::json!({"ended.slow_consumer": {"total": total, "recent": recent}});
        let nodes = serde_json::json!([
            {"id": a, "problems": counted(3, 0)}, {"id": b, "problems": counted(4, 1)}, {"id": Uuid::nil()}
        ]);
        let problem = found("ended.slow_consumer", nodes.clone()).unwrap_or_else(|| panic!("no problem"));
        assert_eq!((problem.total, problem.recent, problem.current), (7, 1, true));
        assert_eq!(problem.nodes, BTreeMap::from([(a, 3), (b, 4)]));
        assert!(found("accept_errors", nodes).is_none());
    }

    #[test]
    fn a_problem_that_lasts_is_current() {
        let away = serde_json::json!([
            {"broker": {"status": "disconnected", "error": "refused"}, "database": {"status": "down", "error": "no space"},
             "time_ms": 1_000_000_000_000u64, "reload_refused": true, "order_failed": true,
             "certificates": {"a:443": null, "b:443": 1_001_209_600u64, "c:443": 1_001_209_599u64},
             "dialects": [{"name": "notify", "connections": 5, "max_connections": 5}]}
        ]);
        for (name, detail) in [
            ("broker_away", Some("refused")),
            ("database_away", Some("no space")),
            ("no_certificate", Some("a:443")),
            ("certificate_ends", Some("c:443 ends at 2001-09-23T01:46:39.000Z")),
            ("full", Some("notify")),
            ("reload_refused", None),
            ("order_failed", None),
        ] {
            let problem = found(name, away.clone()).unwrap_or_else(|| panic!("{name}"));
            assert!(problem.current, "{name}");
            assert_eq!(problem.detail.as_deref(), detail, "{name}");
        }
        assert!(found("nodes_missing", away).is_none());
    }
}
