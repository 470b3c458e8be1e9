//! `GET /api/v1/overview` and `/api/v1/configuration`: the figures of all nodes, and the values in force on them.

use serde::Serialize;
use utoipa::ToSchema;

use super::{Always, ApiFailure, Reply, RouteCall, degraded, reply};
use crate::report::{CONFIGURATION, FIGURES, NodeConfiguration, NodeFigures};

/// The figures of all nodes.
#[derive(Serialize, ToSchema)]
struct NodesOverview {
    /// The oldest first.
    nodes: Vec<NodeFigures>,
    /// The node that answers.
    answered_by: uuid::Uuid,
    /// True if a node has not answered, or the broker was unavailable; otherwise absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(inline, nullable = false)]
    degraded: Option<Always<true>>,
}

/// The figures of all nodes. Counters count from each node's start: compare two replies for a rate.
#[utoipa::path(
    get,
    path = "/api/v1/overview",
    operation_id = "overview",
    responses((status = 200, description = "The figures of each node.", body = inline(NodesOverview))),
)]
pub(in crate::http) async fn overview(call: RouteCall<'_>) -> Result<Reply, ApiFailure> {
    let found = call.site.node.reports::<NodeFigures>(FIGURES).await;
    let mut nodes = found.answer;
    nodes.sort_by_key(|figures| figures.id);
    Ok(reply::ok(&NodesOverview {
        nodes,
        answered_by: call.site.node.id,
        degraded: degraded(found.complete),
    }))
}

/// The configurations of all nodes.
#[derive(Serialize, ToSchema)]
struct Configurations {
    /// The oldest first.
    nodes: Vec<NodeConfiguration>,
    /// True if a node has not answered, or the broker was unavailable; otherwise absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(inline, nullable = false)]
    degraded: Option<Always<true>>,
}

/// The values in force on all nodes, where they were set, and their defaults.
#[utoipa::path(
    get,
    path = "/api/v1/configuration",
    operation_id = "configuration",
    responses((status = 200, description = "The configuration of each node, without secrets.", body = inline(Configurations))),
)]
pub(in crate::http) async fn configuration(call: RouteCall<'_>) -> Result<Reply, ApiFailure> {
    let found = call.site.node.reports::<NodeConfiguration>(CONFIGURATION).await;
    let mut nodes = found.answer;
    nodes.sort_by_key(|one| one.node);
    let degraded = degraded(found.complete);
    Ok(reply::ok(&Configurations { nodes, degraded }))
}
